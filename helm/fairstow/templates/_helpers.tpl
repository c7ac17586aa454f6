{{/* Labels of every object. Call with (dict "root" $ "component" "webhook"). */}}
{{- define "fairstow.labels" -}}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: fairstow
{{ include "fairstow.selector" . }}
{{- end }}

{{/* Labels by which a component's pods are found. */}}
{{- define "fairstow.selector" -}}
app.kubernetes.io/name: fairstow
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of a component's pods: none that changes with the chart alone and starts them anew. */}}
{{- define "fairstow.podLabels" -}}
app.kubernetes.io/part-of: fairstow
{{ include "fairstow.selector" . }}
{{- end }}

{{/* An image by digest or tag. Call with (dict "image" .Values.image "tag" "default"). */}}
{{- define "fairstow.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end }}
{{- end }}

{{/* The cluster's version without what its provider appends: v1.33.4-gke.100 is v1.33.4. */}}
{{- define "fairstow.clusterVersion" -}}
{{- $version := semver .Capabilities.KubeVersion.Version -}}
v{{ $version.Major }}.{{ $version.Minor }}.{{ $version.Patch }}
{{- end }}

{{/* Schedulers that ask the extender. */}}
{{- define "fairstow.enforcedSchedulers" -}}
{{- $own := ternary (list "fairstow") list .Values.scheduler.enabled -}}
{{- if .Values.extender.enabled }}{{ concat $own .Values.extender.attachedTo | uniq | join "," }}{{ end }}
{{- end }}

{{/* What the pod specs of an installation share. */}}
{{- define "fairstow.podSpec" -}}
serviceAccountName: fairstow-{{ .component }}
priorityClassName: fairstow
{{ include "fairstow.anyPodSpec" (dict "root" .root "selector" (include "fairstow.selector" .)) }}
{{- end }}

{{/* What all pod specs share; the "restricted" Pod Security Standard. Call with root, selector. */}}
{{- define "fairstow.anyPodSpec" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ .selector | nindent 8 }}
{{- end }}

{{/* What all containers share. */}}
{{- define "fairstow.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
terminationMessagePolicy: FallbackToLogsOnError
resources: {{ toYaml .resources | nindent 2 }}
{{- end }}

{{/* A component's ServiceAccount, and its PodDisruptionBudget where there are several replicas. */}}
{{- define "fairstow.around" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: fairstow-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "fairstow.labels" . | nindent 4 }}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: fairstow-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "fairstow.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ include "fairstow.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* What each program asks for: names, and the API server. Call with the root. */}}
{{- define "fairstow.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    {{- range .Values.networkPolicies.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
