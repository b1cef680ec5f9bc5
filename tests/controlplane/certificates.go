package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pemFiles is where a certificate and its key are.
type pemFiles struct {
	Cert string `json:"certFile"`
	Key  string `json:"keyFile"`
}

// authority is a CA whose certificates are files of one directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	// files are its own certificate and key.
	files pemFiles
}

func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(name)
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	files, err := write(dir, name, der, key)
	return &authority{dir: dir, cert: cert, key: key, files: files}, err
}

// server makes a serving certificate for a name, and for these addresses.
func (a *authority) server(name string, addresses ...net.IP) (pemFiles, error) {
	template := template(name)
	template.DNSNames = []string{name}
	template.IPAddresses = addresses
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return a.sign(name, template)
}

// client makes a client certificate for a user in these groups.
func (a *authority) client(user string, groups ...string) (pemFiles, error) {
	template := template(user)
	template.Subject.Organization = groups
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(user, template)
}

func (a *authority) sign(name string, template *x509.Certificate) (pemFiles, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pemFiles{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pemFiles{}, err
	}
	return write(a.dir, name, der, key)
}

func template(commonName string) *x509.Certificate {
	// 63 bits at random: unique enough, and positive.
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<63-1))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
}

func write(dir, name string, der []byte, key *ecdsa.PrivateKey) (pemFiles, error) {
	files := pemFiles{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	if err := os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return files, err
	}
	return files, writeKey(files.Key, key)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// serviceAccountKey makes the key that signs service accounts' tokens.
func serviceAccountKey(dir string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "service-account.key")
	return file, writeKey(file, key)
}

// kubeconfig writes one that refers to the certificates of dir, and gives its path.
func kubeconfig(dir, name, server, ca string, user pemFiles) (string, error) {
	file := filepath.Join(dir, name+".kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {client-certificate: %q, client-key: %q}}]
`, server, ca, user.Cert, user.Key)
	return file, os.WriteFile(file, []byte(text), 0o600)
}
