package conf

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

func clusterSchema() schema[Cluster] {
	return schema[Cluster]{blockCluster, map[string]handler[Cluster]{
		"name": put(readName, func(c *Cluster) *string { return &c.Name }),
		"listen": func(d *decoder, f *field, c *Cluster) {
			readListen(d, f, &c.Host, &c.Port)
		},
		"host":            put(readString, func(c *Cluster) *string { return &c.Host }),
		"port":            put(readPort, func(c *Cluster) *int { return &c.Port }),
		"advertise":       put(readAdvertise, func(c *Cluster) *string { return &c.Advertise }),
		"authorization":   sub(routeAuthSchema, func(c *Cluster) *Authorization { return &c.Authorization }),
		"routes":          decodeRoutes,
		"connect_retries": onlyShown(put(readCount, func(c *Cluster) *int { return &c.ConnectRetries }), alwaysDialled),
		"no_advertise": func(d *decoder, f *field, _ *Cluster) {
			if v, ok := readBool(d, f); ok {
				d.cfg.NoAdvertise = v
			}
		},

		"pool_size":     noEffect[Cluster](readInt),
		"accounts":      noEffect[Cluster](readStrings),
		"compression":   checkCompression,
		"ping_interval": noEffect[Cluster](readDuration),
		"ping_max":      noEffect[Cluster](readCount),
	}}
}

const alwaysDialled = "a node that is known is dialled until it is there"

// routeAuthSchema is what of an authorization block routes have: one user.
func routeAuthSchema() schema[Authorization] {
	all := authorizationSchema()
	keys := map[string]handler[Authorization]{}
	for _, k := range []string{"user", "pass"} {
		keys[k] = all.keys[k]
	}
	keys["timeout"] = onlyShown(all.keys["timeout"], alwaysDialled)
	return schema[Authorization]{all.block, keys}
}

func decodeRoutes(d *decoder, f *field, c *Cluster) {
	if !d.is(f, kindList) {
		return
	}
	texts, _ := readStrings(d, f)
	c.Routes = nil
	for _, text := range texts {
		u, err := parseRoute(text)
		if err != nil {
			d.fault(f, "%v", err)
			continue
		}
		c.Routes = append(c.Routes, u)
	}
}

// ParseRoutes reads routes separated by commas, as the flag has them.
func ParseRoutes(list string) ([]*url.URL, error) {
	var routes []*url.URL
	for _, text := range strings.Split(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		u, err := parseRoute(text)
		if err != nil {
			return nil, err
		}
		routes = append(routes, u)
	}
	return routes, nil
}

// parseRoute reads a URL like nats-route://user:pass@host:6222, of which all but
// the host may be left out. The result always has a port.
func parseRoute(text string) (*url.URL, error) {
	full := strings.TrimSpace(text)
	if !strings.Contains(full, "://") {
		full = "nats://" + full
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return nil, fmt.Errorf("has the invalid route %q", text)
	case u.Scheme != "nats" && u.Scheme != "nats-route":
		return nil, fmt.Errorf("has the route %q, whose scheme %q is not supported", text, u.Scheme)
	case u.Hostname() == "":
		return nil, fmt.Errorf("has the route %q without a host", text)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(DefaultClusterPort))
	}
	if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
		return nil, fmt.Errorf("has the route %q with the invalid port %q", text, u.Port())
	}
	return u, nil
}

var compressionModes = []string{
	"off", "disabled", "on", "enabled", "accept", "s2_fast", "s2_better", "s2_best", "s2_auto",
}

// checkCompression checks a value that has no effect, see Cluster.
func checkCompression(d *decoder, f *field, _ *Cluster) {
	switch f.value.kind {
	case kindBool:
	case kindBlock:
		schema[Cluster]{blockCompression, map[string]handler[Cluster]{
			"mode":           checkCompression,
			"rtt_thresholds": noEffect[Cluster](readStrings),
		}}.decode(d, f.value.fields, nil)
	default:
		mode, ok := readString(d, f)
		for _, known := range compressionModes {
			if strings.EqualFold(mode, known) {
				return
			}
		}
		if ok {
			d.fault(f, "has the unknown compression mode %q", mode)
		}
	}
}

// ParseClusterListen reads the URL of a flag that says where to listen for other
// servers, with the user and password that they must give. Port -1 is any free
// one; an empty text is no cluster.
func ParseClusterListen(text string) (Override, error) {
	if text == "" {
		return func(c *Config) { c.Cluster.Port, c.Cluster.Routes = 0, nil }, nil
	}
	// A URL cannot have a negative port.
	full, anyPort := strings.CutSuffix(text, ":-1")
	if anyPort {
		full += ":0"
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL like nats://host:6222", text)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || port > 65535 || port == 0 && !anyPort {
		return nil, fmt.Errorf("%q has no valid port", text)
	}
	if anyPort {
		port = -1
	}
	return func(c *Config) {
		c.Cluster.Host, c.Cluster.Port = u.Hostname(), port
		if u.User != nil {
			c.Cluster.Authorization.Username = u.User.Username()
			c.Cluster.Authorization.Password, _ = u.User.Password()
		}
	}, nil
}
