// Command helm is the real helm, built where the machine has none that is recent enough.
package main

import (
	"fmt"
	"os"

	"helm.sh/helm/v4/pkg/cmd"
)

func main() {
	root, err := cmd.NewRootCmd(os.Stdout, os.Args[1:], cmd.SetupLogging)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// What fails is told by the command itself.
	if root.Execute() != nil {
		os.Exit(1)
	}
}
