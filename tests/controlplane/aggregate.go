package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// object is a Kubernetes object in JSON.
type object map[string]any

// aggregate makes kube-apiserver forward wardle.example.com to the sample-apiserver on a port of this host.
func (p *plane) aggregate(ctx context.Context, pki *certificates, url string, port int) error {
	client, err := trusting(pki.cluster.files.Cert, "", &pki.admin)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(pki.sampleCA.files.Cert)
	if err != nil {
		return err
	}
	wardle := object{"name": "api", "namespace": "wardle"}
	objects := []struct {
		path string
		body object
	}{
		{"/api/v1/namespaces", object{"metadata": object{"name": "wardle"}}},
		// Endpoints on loopback are refused, an external name is not.
		{"/api/v1/namespaces/wardle/services", object{"metadata": wardle, "spec": object{
			"type": "ExternalName", "externalName": "localhost", "ports": []object{{"port": port}}}}},
	}
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		objects = append(objects, struct {
			path string
			body object
		}{"/apis/apiregistration.k8s.io/v1/apiservices", object{
			"metadata": object{"name": version + ".wardle.example.com"},
			"spec": object{
				"group": "wardle.example.com", "version": version,
				"groupPriorityMinimum": 1000, "versionPriority": 15, "caBundle": ca,
				"service": object{"namespace": "wardle", "name": "api", "port": port},
			}}})
	}
	for _, o := range objects {
		status, text, err := call(ctx, client, http.MethodPost, url+o.path, o.body)
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			return fmt.Errorf("kube-apiserver refuses to create %v: %s", o.body, text)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		for {
			status, text, err := call(ctx, client, http.MethodGet, url+"/apis/wardle.example.com/"+version, nil)
			if err == nil && status == http.StatusOK {
				break
			}
			select {
			case <-time.After(25 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("kube-apiserver does not serve wardle.example.com/%s: %w: %d %s", version, ctx.Err(), status, text)
			}
		}
	}
	return nil
}

func call(ctx context.Context, client *http.Client, method, url string, body any) (int, []byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
