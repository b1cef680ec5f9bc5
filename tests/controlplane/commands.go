package main

import (
	"fmt"
	"path/filepath"
)

// The command lines. Off is only what costs time or memory and is seen by no test.

func etcdArgs(dir string, clients, peers int) []string {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", clients), fmt.Sprintf("http://127.0.0.1:%d", peers)
	return []string{
		"etcd",
		"--name=default",
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func kubeAPIServerArgs(pki *certificates, etcd string, port int, options Options) []string {
	return []string{
		"kube-apiserver",
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// The endpoints of the service `kubernetes` may not be loopback addresses, and nobody needs them.
		"--endpoint-reconciler-type=none",
		fmt.Sprintf("--secure-port=%d", port),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + pki.kubeAPIServer.Cert,
		"--tls-private-key-file=" + pki.kubeAPIServer.Key,
		"--client-ca-file=" + pki.cluster.files.Cert,
		"--authorization-mode=RBAC",
		"--requestheader-client-ca-file=" + pki.frontProxyCA.files.Cert,
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki.frontProxy.Cert,
		"--proxy-client-key-file=" + pki.frontProxy.Key,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki.serviceAccountKey,
		"--service-account-signing-key-file=" + pki.serviceAccountKey,
		fmt.Sprintf("--enable-aggregator-routing=%t", options.AggregatorRouting),
		"--profiling=false",
	}
}

func controllerManagerArgs(pki *certificates, kubeconfig string, port int) []string {
	return []string{
		"kube-controller-manager",
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + pki.controllerManager.Cert,
		"--tls-private-key-file=" + pki.controllerManager.Key,
		"--leader-elect=false",
		// Each controller is somebody, as in clusters that kubeadm makes.
		"--use-service-account-credentials",
		"--root-ca-file=" + pki.cluster.files.Cert,
		"--service-account-private-key-file=" + pki.serviceAccountKey,
		"--cluster-signing-cert-file=" + pki.cluster.files.Cert,
		"--cluster-signing-key-file=" + pki.cluster.files.Key,
		"--profiling=false",
	}
}

func sampleArgs(pki *certificates, etcd, kubeconfig string, port int) []string {
	return []string{
		"sample-apiserver",
		"--etcd-servers=" + etcd,
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + pki.sample.Cert,
		"--tls-private-key-file=" + pki.sample.Key,
	}
}
