// Command verdicts says what the real scheduler's filters answer about pods of
// a dump, without a cluster: it starts a scheduler on a client that serves the
// dump, lets it fill its cache, and runs PreFilter and Filter of the default
// profile for each pod on each node. Nothing is scheduled.
//
// Input: JSON documents one after the other, each a List as of `kubectl get -o
// json`, with one more field: "pods", the UIDs to ask about (absent: all
// pending ones). A pod that runs is judged as if it were pending and gone from
// its node. Output: one JSON line per pod and node, in the order of the input,
// then {"done": true} for each document.
//
// e2e/controlplane/build.py builds it, e2e/verdicts.py runs it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
)

// document is one question: the objects of a cluster, and the pods asked about.
type document struct {
	Items []json.RawMessage `json:"items"`
	Pods  *[]string         `json:"pods"`
}

// verdict is what the filters said about one pod on one node.
type verdict struct {
	Pod     string   `json:"pod"`
	Node    string   `json:"node"`
	Plugin  string   `json:"plugin,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	// Unresolvable: evicting pods of this node would not help.
	Unresolvable bool `json:"unresolvable,omitempty"`
}

func main() {
	gates := flag.String("feature-gates", "", "as of kube-scheduler, e.g. TaintTolerationComparisonOperators=true")
	flag.Parse()
	// The scheduler's caches are filled by goroutines that say nothing when
	// they are done. On one processor, yielding often enough runs them all.
	runtime.GOMAXPROCS(1)
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := utilfeature.DefaultMutableFeatureGate.Set(*gates); err != nil {
		fail(err)
	}
	out := bufio.NewWriter(os.Stdout)
	if err := answer(bufio.NewReader(os.Stdin), json.NewEncoder(out), out.Flush); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "verdicts:", err)
	os.Exit(1)
}

func answer(in io.Reader, out *json.Encoder, flush func() error) error {
	decoder := json.NewDecoder(in)
	for number := 1; ; number++ {
		var asked document
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("document %d: %w", number, err)
		}
		if err := judge(asked, func(v verdict) error { return out.Encode(v) }); err != nil {
			return fmt.Errorf("document %d: %w", number, err)
		}
		if err := out.Encode(map[string]bool{"done": true}); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
}
