package main

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	storagev1defaults "k8s.io/kubernetes/pkg/apis/storage/v1"
)

// setDefaults fills in what an API server would have, so that objects written
// by hand are judged as the scheduler would see them. A dump has them already.
func setDefaults(object runtime.Object) {
	switch object := object.(type) {
	case *corev1.Pod:
		corev1defaults.SetObjectDefaults_Pod(object)
	case *corev1.Node:
		corev1defaults.SetObjectDefaults_Node(object)
	case *corev1.PersistentVolume:
		corev1defaults.SetObjectDefaults_PersistentVolume(object)
	case *corev1.PersistentVolumeClaim:
		corev1defaults.SetObjectDefaults_PersistentVolumeClaim(object)
	case *storagev1.StorageClass:
		storagev1defaults.SetObjectDefaults_StorageClass(object)
	case *storagev1.CSIDriver:
		storagev1defaults.SetObjectDefaults_CSIDriver(object)
	}
}
