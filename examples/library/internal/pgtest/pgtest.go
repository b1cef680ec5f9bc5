// Package pgtest starts a PostgreSQL of its own for tests: a new cluster in a directory of its own, on a free port
// of 127.0.0.1, without a password, gone when the tests end.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Programs is the variable that says in which directory initdb and postgres are. Without it they are looked for in PATH
// and where Debian has them.
const Programs = "KUBRIDGE_TEST_POSTGRES"

// How long it may take to start or stop.
const patience = time.Minute

// Server is a PostgreSQL under way.
type Server struct {
	dir, bin string
	port     int
	process  *exec.Cmd
	ended    chan error
	database atomic.Int64
}

// Start makes a cluster and starts it.
func Start(ctx context.Context) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	// Not below the tests' own directories: another user must get there.
	dir, err := os.MkdirTemp("", "library-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	if err := s.make(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.Run(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) make(ctx context.Context) error {
	credential, err := unprivileged()
	if err != nil {
		return err
	}
	if credential != nil {
		if err := os.Chown(s.dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return err
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	s.port = port
	initdb, err := s.command(ctx, "initdb", "--pgdata="+s.data(), "--username=library", "--auth=trust", "--encoding=UTF8",
		"--locale=C", "--no-sync", "--no-instructions")
	if err != nil {
		return err
	}
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	return nil
}

// Run starts it, again after [Server.Stop].
func (s *Server) Run(ctx context.Context) error {
	process, err := s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data(), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=50")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	s.process, s.ended = process, make(chan error, 1)
	go func() { s.ended <- errors.Join(process.Wait(), log.Close()) }()
	return s.until(ctx)
}

func (s *Server) until(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		connection, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return connection.Close(ctx)
		}
		select {
		case end := <-s.ended:
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("postgres ended: %w: %s", end, said)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Database makes an empty database. Its URL.
func (s *Server) Database(ctx context.Context) (string, error) {
	connection, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = connection.Close(ctx) }()
	name := fmt.Sprintf("library%d", s.database.Add(1))
	if _, err := connection.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.url(name), nil
}

// Stop stops it; everybody is disconnected.
func (s *Server) Stop() error {
	// SIGINT is PostgreSQL's fast shutdown.
	return s.stop(syscall.SIGINT)
}

// Close stops it and removes everything.
func (s *Server) Close() error {
	// Nobody needs what SIGQUIT, the immediate shutdown, leaves behind.
	return errors.Join(s.stop(syscall.SIGQUIT), os.RemoveAll(s.dir))
}

func (s *Server) stop(by syscall.Signal) error {
	if err := s.process.Process.Signal(by); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("postgres does not stop"), s.process.Process.Kill())
	}
}

func (s *Server) data() string {
	return filepath.Join(s.dir, "data")
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://library@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

func (s *Server) command(ctx context.Context, name string, arguments ...string) (*exec.Cmd, error) {
	command := exec.CommandContext(ctx, filepath.Join(s.bin, name), arguments...)
	command.Dir = s.dir
	command.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.dir)
	credential, err := unprivileged()
	command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	return command, err
}

// unprivileged is whom to run as: PostgreSQL refuses root. nil: whoever we are.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uidErr, gidErr)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func programs() (string, error) {
	if dir := os.Getenv(Programs); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err == nil && len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
		return found[len(found)-1], nil
	}
	return "", errors.New("no PostgreSQL: install Debian's postgresql, or say in " + Programs + " where initdb is")
}

func version(bin string) int {
	number, _ := strconv.Atoi(strings.Split(strings.TrimPrefix(bin, "/usr/lib/postgresql/"), "/")[0])
	return number
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}
