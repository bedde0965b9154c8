package procs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that systems give to outgoing
// connections, so that none is taken while a server is down.
const (
	lowPort  = 10000
	highPort = 30000
	portTry  = 1000
)

// freePorts finds n ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	taken := make(map[int]bool)
	for range portTry {
		if len(ports) == n {
			return ports, nil
		}
		port := lowPort + rand.IntN(highPort-lowPort)
		if taken[port] {
			continue
		}
		taken[port] = true
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("look for a free port: %w", err)
		}
		ports = append(ports, port)
	}
	return nil, errors.New("found too few free ports")
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
