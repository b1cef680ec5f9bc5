// Command controlplane is a Kubernetes control plane for tests: the real commands of Kubernetes and etcd in one
// binary, and `up`, which starts them on loopback. See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	wardle "k8s.io/sample-apiserver/pkg/cmd/server"
)

const usage = `usage: controlplane up [flags]    a control plane that lives as long as standard input (-h: its flags)
       controlplane COMMAND ...   etcd, kube-apiserver, kube-controller-manager or sample-apiserver, as they are`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	command := os.Args[1]
	// The commands read os.Args themselves.
	os.Args = os.Args[1:]
	switch command {
	case "up":
		os.Exit(runUp(os.Args[1:]))
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(kubeapiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(kubecontrollermanager.NewControllerManagerCommand()))
	case "sample-apiserver":
		ctx := genericapiserver.SetupSignalContext()
		options := wardle.NewWardleServerOptions(os.Stdout, os.Stderr)
		os.Exit(cli.Run(wardle.NewCommandStartWardleServer(ctx, options, false)))
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

// runUp gives the exit code.
func runUp(args []string) int {
	var options Options
	flags := flag.NewFlagSet("controlplane up", flag.ContinueOnError)
	flags.StringVar(&options.Dir, "dir", "", "files and logs go here (default: a temporary directory, removed at the end)")
	flags.BoolVar(&options.ControllerManager, "controller-manager", false, "also start kube-controller-manager")
	flags.IntVar(&options.SampleAPIServers, "sample-apiservers", 0, "how many sample-apiservers to start, all over the same data")
	flags.BoolVar(&options.Aggregate, "aggregate", false, "kube-apiserver itself aggregates the first sample-apiserver")
	flags.BoolVar(&options.AggregatorRouting, "aggregator-routing", false, "kube-apiserver dials the endpoints of aggregated APIs itself")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 || options.SampleAPIServers < 0 || (options.Aggregate && options.SampleAPIServers == 0) {
		fmt.Fprintln(os.Stderr, "up takes no arguments, and --aggregate takes --sample-apiservers=1 or more")
		return 2
	}
	if err := Up(options); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		return 1
	}
	return 0
}
