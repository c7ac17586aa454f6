// Command alias starts /controlplane as the component of its own name. In an
// image it stands where a program is expected, such as
// /usr/local/bin/kube-scheduler.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const target = "/controlplane"

func main() {
	name := filepath.Base(os.Args[0])
	arguments := append([]string{target, name}, os.Args[1:]...)
	if err := syscall.Exec(target, arguments, os.Environ()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: can't start %s: %v\n", name, target, err)
		os.Exit(1)
	}
}
