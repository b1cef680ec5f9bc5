package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Options are the flags of `up`.
type Options struct {
	Dir               string
	ControllerManager bool
	SampleAPIServers  int
	Aggregate         bool
	AggregatorRouting bool
}

// sampleName is what sample-apiserver's certificate says, and nothing else: who reaches it has asked for this name.
const sampleName = "api.wardle.svc"

// Description is the line that `up` prints when all is ready.
type Description struct {
	Dir string `json:"dir"`
	// Kubeconfig is an administrator's, for kube-apiserver.
	Kubeconfig string `json:"kubeconfig"`
	// Etcd speaks plain HTTP. All keep their objects under /registry.
	Etcd          server `json:"etcd"`
	KubeAPIServer server `json:"kubeApiserver"`
	// CAFile signed kube-apiserver's certificate and all users'; CAKeyFile makes more users.
	CAFile    string `json:"caFile"`
	CAKeyFile string `json:"caKeyFile"`
	// Admin is the administrator of the kubeconfig.
	Admin pemFiles `json:"admin"`
	// FrontProxyCAFile is whom kube-apiserver and sample-apiserver believe X-Remote-User of.
	FrontProxyCAFile string `json:"frontProxyCaFile"`
	// FrontProxy is such a client.
	FrontProxy pemFiles `json:"frontProxy"`
	// SampleAPIServers say that they are SampleServerName, signed by SampleCAFile (the APIService's caBundle).
	SampleAPIServers  []server `json:"sampleApiservers"`
	SampleServerName  string   `json:"sampleServerName"`
	SampleCAFile      string   `json:"sampleCaFile"`
	ControllerManager *server  `json:"kubeControllerManager,omitempty"`
	// ServiceAccountKeyFile signs service accounts' tokens.
	ServiceAccountKeyFile string `json:"serviceAccountKeyFile"`
}

// server is one process. Its log is DIR/NAME.log; `start NAME` on standard input starts it again.
type server struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	PID     int    `json:"pid"`
}

// Up starts a control plane, says where it is, and ends it with standard input or a signal.
func Up(options Options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	commands := make(chan string, 16)
	ctx, gone := context.WithCancel(ctx)
	go func() {
		defer gone()
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			commands <- lines.Text()
		}
	}()

	dir := options.Dir
	var err error
	if dir == "" {
		if dir, err = os.MkdirTemp("", "controlplane-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	plane := &plane{dir: dir, options: options}
	defer plane.kill()
	if err := plane.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := plane.say(plane.description); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case command := <-commands:
			if err := plane.obey(ctx, command); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// plane is the control plane under way.
type plane struct {
	dir         string
	options     Options
	children    []*child
	description Description
}

func (p *plane) say(what any) error {
	return json.NewEncoder(os.Stdout).Encode(what)
}

func (p *plane) kill() {
	// The newest first: nobody complains in its log of one that it needs.
	for i := len(p.children) - 1; i >= 0; i-- {
		p.children[i].kill()
	}
}

// obey does what a line of standard input says: `start NAME` (after its process was killed).
func (p *plane) obey(ctx context.Context, command string) error {
	name, ok := strings.CutPrefix(command, "start ")
	for _, child := range p.children {
		if !ok || child.name != name {
			continue
		}
		child.kill()
		if err := p.run(ctx, child); err != nil {
			return err
		}
		return p.say(child.describe())
	}
	return fmt.Errorf("unknown command %q: use `start NAME` with a name of the description", command)
}

func (p *plane) run(ctx context.Context, child *child) error {
	if err := child.start(); err != nil {
		return err
	}
	return child.awaitReady(ctx)
}

// begin starts a child without waiting for it.
func (p *plane) begin(child *child) (*child, error) {
	child.dir = p.dir
	p.children = append(p.children, child)
	return child, child.start()
}

// start starts everything, and returns when all is ready.
func (p *plane) start(ctx context.Context) error {
	ports, err := freePorts(4 + p.options.SampleAPIServers)
	if err != nil {
		return err
	}
	pki, err := makeCertificates(p.dir)
	if err != nil {
		return err
	}
	api := fmt.Sprintf("127.0.0.1:%d", ports[2])
	admin, err := kubeconfig(p.dir, "admin", "https://"+api, pki.cluster.files.Cert, pki.admin)
	if err != nil {
		return err
	}
	etcd := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	p.description = Description{
		Dir: p.dir, Kubeconfig: admin,
		CAFile: pki.cluster.files.Cert, CAKeyFile: pki.cluster.files.Key, Admin: pki.admin,
		FrontProxyCAFile: pki.frontProxyCA.files.Cert, FrontProxy: pki.frontProxy,
		SampleAPIServers: []server{}, SampleServerName: sampleName, SampleCAFile: pki.sampleCA.files.Cert,
		ServiceAccountKeyFile: pki.serviceAccountKey,
	}

	store, err := p.begin(&child{name: "etcd", args: etcdArgs(p.dir, ports[0], ports[1]), ready: etcd + "/health", client: &http.Client{}})
	if err != nil {
		return err
	}
	// kube-apiserver tries again only a second later when it finds no etcd.
	if err := store.awaitReady(ctx); err != nil {
		return err
	}
	p.description.Etcd = store.describe()
	client, err := trusting(pki.cluster.files.Cert, "", nil)
	if err != nil {
		return err
	}
	kubeAPIServer, err := p.begin(&child{name: "kube-apiserver", args: kubeAPIServerArgs(pki, etcd, ports[2], p.options), ready: "https://" + api + "/readyz", client: client})
	if err != nil {
		return err
	}
	if err := kubeAPIServer.awaitReady(ctx); err != nil {
		return err
	}
	p.description.KubeAPIServer = kubeAPIServer.describe()

	var rest []*child
	if p.options.ControllerManager {
		config, err := kubeconfig(p.dir, "controller-manager", "https://"+api, pki.cluster.files.Cert, pki.controllers)
		if err != nil {
			return err
		}
		manager, err := p.begin(&child{name: "kube-controller-manager", args: controllerManagerArgs(pki, config, ports[3]), ready: fmt.Sprintf("https://127.0.0.1:%d/healthz", ports[3]), client: client})
		if err != nil {
			return err
		}
		rest = append(rest, manager)
		description := manager.describe()
		p.description.ControllerManager = &description
	}
	sampleClient, err := trusting(pki.sampleCA.files.Cert, sampleName, nil)
	if err != nil {
		return err
	}
	for i, port := range ports[4:] {
		sample, err := p.begin(&child{name: fmt.Sprintf("sample-apiserver-%d", i), args: sampleArgs(pki, etcd, admin, port), ready: fmt.Sprintf("https://127.0.0.1:%d/readyz", port), client: sampleClient})
		if err != nil {
			return err
		}
		rest = append(rest, sample)
		p.description.SampleAPIServers = append(p.description.SampleAPIServers, sample.describe())
	}
	for _, child := range rest {
		if err := child.awaitReady(ctx); err != nil {
			return err
		}
	}
	if p.options.Aggregate {
		return p.aggregate(ctx, pki, "https://"+api, ports[4])
	}
	return nil
}

// certificates is what makeCertificates has made.
type certificates struct {
	cluster, frontProxyCA, sampleCA                 *authority
	kubeAPIServer, controllerManager, sample, admin pemFiles
	controllers                                     pemFiles
	frontProxy                                      pemFiles
	serviceAccountKey                               string
}

func makeCertificates(dir string) (*certificates, error) {
	dir = filepath.Join(dir, "pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var made certificates
	var faults []error
	ca := func(name string) *authority {
		a, err := newAuthority(dir, name)
		faults = append(faults, err)
		return a
	}
	made.cluster, made.frontProxyCA, made.sampleCA = ca("ca"), ca("front-proxy-ca"), ca("sample-ca")
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	pair := func(files pemFiles, err error) pemFiles {
		faults = append(faults, err)
		return files
	}
	loopback := net.IPv4(127, 0, 0, 1)
	made.kubeAPIServer = pair(made.cluster.server("kubernetes.default.svc", loopback))
	made.controllerManager = pair(made.cluster.server("kube-controller-manager", loopback))
	made.admin = pair(made.cluster.client("admin", "system:masters"))
	made.controllers = pair(made.cluster.client("system:kube-controller-manager"))
	made.frontProxy = pair(made.frontProxyCA.client("front-proxy-client"))
	made.sample = pair(made.sampleCA.server(sampleName))
	key, err := serviceAccountKey(dir)
	made.serviceAccountKey = key
	return &made, errors.Join(append(faults, err)...)
}
