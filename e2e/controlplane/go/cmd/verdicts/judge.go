package main

import (
	"context"
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"sort"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// settleRounds is far above the number of hand-overs between a list call and
// the caches of the plugins.
const settleRounds = 20000

// cluster is a scheduler that has read a dump and schedules nothing.
type cluster struct {
	scheduler *scheduler.Scheduler
	framework framework.Framework
	snapshot  *internalcache.Snapshot
	pods      []*v1.Pod
	logger    klog.Logger
}

func judge(asked document, say func(verdict) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	objects, err := decode(asked.Items)
	if err != nil {
		return err
	}
	c, err := start(ctx, objects)
	if err != nil {
		return err
	}
	pods, err := c.wanted(asked.Pods)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := c.judgePod(ctx, pod, say); err != nil {
			return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

// decode returns the objects with the defaults an API server sets. Kinds that
// client-go doesn't know are custom resources, which no filter reads.
func decode(items []json.RawMessage) ([]runtime.Object, error) {
	var objects []runtime.Object
	for number, item := range items {
		object, _, err := clientscheme.Codecs.UniversalDeserializer().Decode(item, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", number+1, err)
		}
		setDefaults(object)
		objects = append(objects, object)
	}
	return objects, nil
}

func start(ctx context.Context, objects []runtime.Object) (*cluster, error) {
	client := fake.NewSimpleClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	snapshot := internalcache.NewEmptySnapshot()
	recorders := profile.NewRecorderFactory(events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()}))
	s, err := scheduler.New(ctx, client, factory, nil, recorders, scheduler.WithNodeInfoSnapshot(snapshot))
	if err != nil {
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	settle()
	if err := s.WaitForHandlersSync(ctx); err != nil {
		return nil, err
	}
	settle()
	c := &cluster{
		scheduler: s,
		framework: s.Profiles[v1.DefaultSchedulerName],
		snapshot:  snapshot,
		logger:    klog.FromContext(ctx),
	}
	for _, object := range objects {
		if pod, ok := object.(*v1.Pod); ok {
			c.pods = append(c.pods, pod)
		}
	}
	return c, nil
}

func settle() {
	for range settleRounds {
		goruntime.Gosched()
	}
}

// wanted returns the pods of these UIDs in this order, or all pending ones.
func (c *cluster) wanted(uids *[]string) ([]*v1.Pod, error) {
	var found []*v1.Pod
	if uids == nil {
		for _, pod := range c.pods {
			if pod.Spec.NodeName == "" && pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed {
				found = append(found, pod)
			}
		}
		return found, nil
	}
	byUID := map[string]*v1.Pod{}
	for _, pod := range c.pods {
		byUID[string(pod.UID)] = pod
	}
	for _, uid := range *uids {
		pod, ok := byUID[uid]
		if !ok {
			return nil, fmt.Errorf("no pod has the UID %q", uid)
		}
		found = append(found, pod)
	}
	return found, nil
}

// judgePod says what each node's filters answer, nodes in the order of their names.
func (c *cluster) judgePod(ctx context.Context, pod *v1.Pod, say func(verdict) error) error {
	if pod.Spec.NodeName != "" {
		running := pod
		if err := c.scheduler.Cache.RemovePod(c.logger, running); err != nil {
			return err
		}
		defer func() { _ = c.scheduler.Cache.AddPod(c.logger, running) }()
		pod = pending(running)
	}
	if err := c.scheduler.Cache.UpdateSnapshot(c.logger, c.snapshot); err != nil {
		return err
	}
	nodes, err := c.snapshot.NodeInfos().List()
	if err != nil {
		return err
	}
	nodes = append([]fwk.NodeInfo(nil), nodes...)
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Node().Name < nodes[j].Node().Name })
	state := framework.NewCycleState()
	allowed, before, _ := c.framework.RunPreFilterPlugins(ctx, state, pod)
	for _, node := range nodes {
		status := before
		if status.IsSuccess() {
			if allowed.AllNodes() || allowed.NodeNames.Has(node.Node().Name) {
				status = c.framework.RunFilterPluginsWithNominatedPods(ctx, state, pod, node)
			} else {
				status = fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "node is not among those PreFilter left").WithPlugin("PreFilter")
			}
		}
		v := verdict{Pod: string(pod.UID), Node: node.Node().Name}
		if !status.IsSuccess() {
			v.Plugin = status.Plugin()
			v.Reasons = status.Reasons()
			v.Unresolvable = status.Code() == fwk.UnschedulableAndUnresolvable
			if !status.IsRejected() {
				// The scheduler would try again later: for now the pod stays where it is.
				v.Reasons = []string{"error: " + status.AsError().Error()}
			}
			if v.Plugin == "" {
				v.Plugin = "unknown"
			}
		}
		if err := say(v); err != nil {
			return err
		}
	}
	return nil
}

// pending returns the pod as if it were not bound.
func pending(pod *v1.Pod) *v1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.NodeName = ""
	pod.Status.Phase = v1.PodPending
	pod.Status.NominatedNodeName = ""
	return pod
}
