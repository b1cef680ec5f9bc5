package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience is how long one process may take until it is ready.
const patience = 120 * time.Second

// child is one process of the control plane: this binary, as another command.
type child struct {
	// name is unique among the children; the log is named after it.
	name string
	// args are a command of this binary and its flags.
	args []string
	// ready is a URL that answers 200 when it is.
	ready  string
	client *http.Client
	dir    string

	cmd *exec.Cmd
	// done is closed when the process has ended.
	done chan struct{}
}

// start starts the process, which ends at the latest when this one does.
func (c *child) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c.cmd = exec.Command(self, c.args...)
	c.cmd.Dir = c.dir
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = endsWithParent()
	if err := c.cmd.Start(); err != nil {
		return err
	}
	cmd, done := c.cmd, make(chan struct{})
	c.done = done
	go func() {
		// What it says is in ProcessState.
		_ = cmd.Wait()
		close(done)
	}()
	return nil
}

// awaitReady waits until the process answers, has ended or has taken too long.
func (c *child) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.ready, nil)
		if err != nil {
			return err
		}
		if response, err := c.client.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-c.done:
			return fmt.Errorf("%s ended: %s; its log ends with\n%s", c.name, c.cmd.ProcessState, c.lastWords())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s is not ready after %s; its log ends with\n%s", c.name, patience, c.lastWords())
		}
	}
}

// running says whether it has been started and has not ended.
func (c *child) running() bool {
	if c.done == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// address is where it listens.
func (c *child) address() string {
	url, err := url.Parse(c.ready)
	if err != nil {
		panic(err)
	}
	return url.Host
}

func (c *child) describe() server {
	return server{Name: c.name, Address: c.address(), PID: c.cmd.Process.Pid}
}

// kill ends the process, a stopped one too, and waits until it has.
func (c *child) kill() {
	if c.running() {
		// It fails only if the process ended by itself in between.
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

func (c *child) logFile() string {
	return filepath.Join(c.dir, c.name+".log")
}

func (c *child) lastWords() string {
	text, err := os.ReadFile(c.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// trusting gives a client that verifies a server of this name against the CA of a file, and speaks as a user if one is
// given. Each request has a connection of its own.
func trusting(caFile, serverName string, user *pemFiles) (*http.Client, error) {
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	config := &tls.Config{RootCAs: pool, ServerName: serverName}
	if user != nil {
		pair, err := tls.LoadX509KeyPair(user.Cert, user.Key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}, nil
}

// freePorts gives ports of 127.0.0.1 that nobody listens on. They are below those that systems give to connections
// and to listeners of port 0, so that nobody gets them by chance before a child listens.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		// Held until all are chosen, so that none is chosen twice.
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return nil, errors.New("no free ports on 127.0.0.1 between 20000 and 32000")
}
