// Package procfile writes the two files by which other programs find a running
// server: the pid file and the ports file.
package procfile

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// WritePID writes the process id to path. nats-server leaves that file behind at
// shutdown, and so do we.
func WritePID(path string) error {
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o640); err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	return nil
}

// Ports are the URLs of a server's listeners; what is off is left out.
type Ports struct {
	Nats       []string `json:"nats,omitempty"`
	Monitoring []string `json:"monitoring,omitempty"`
	Cluster    []string `json:"cluster,omitempty"`
}

// WritePorts writes the ports file into dir, under the name of the running
// executable and its process id, and returns its path. Readers see all of it or
// nothing.
func WritePorts(dir string, ports Ports) (string, error) {
	text, err := json.Marshal(ports)
	if err != nil {
		return "", fmt.Errorf("writing the ports file: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%s_%d.ports", filepath.Base(os.Args[0]), os.Getpid()))
	staged := path + ".tmp"
	if err := os.WriteFile(staged, text, 0o666); err != nil {
		return "", fmt.Errorf("writing the ports file: %w", err)
	}
	if err := os.Rename(staged, path); err != nil {
		return "", fmt.Errorf("writing the ports file: %w", err)
	}
	return path, nil
}

// RemovePorts removes what WritePorts wrote.
func RemovePorts(path string) error {
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the ports file: %w", err)
	}
	return nil
}

// URLs gives the URLs under which the listener at addr can be reached: one, or
// one for each of the machine's addresses when it listens on all.
func URLs(scheme string, addr net.Addr) []string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return []string{scheme + "://" + net.JoinHostPort(host, port)}
	}
	var urls []string
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = []net.Addr{&net.IPNet{IP: net.IPv4(127, 0, 0, 1)}}
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			urls = append(urls, scheme+"://"+net.JoinHostPort(n.IP.String(), port))
		}
	}
	return urls
}
