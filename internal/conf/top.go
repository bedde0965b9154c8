package conf

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// Blocks of options.csv.
const (
	blockTop              = "(top)"
	blockAuthorization    = "authorization"
	blockUser             = "user"
	blockPermissions      = "permissions"
	blockSubjects         = "permissions.publish|subscribe"
	blockResponses        = "permissions.allow_responses"
	blockAccount          = "accounts.<name>"
	blockAccountLimits    = "accounts.<name>.limits"
	blockAccountJetStream = "accounts.<name>.jetstream"
	blockExports          = "accounts.<name>.exports"
	blockImports          = "accounts.<name>.imports"
	blockMappings         = "mappings.<subject>[]"
	blockCluster          = "cluster"
	blockJetStream        = "jetstream"
	blockJetStreamLimits  = "jetstream.limits"
	blockBatchLimits      = "jetstream.limits.batch"
	blockCompression      = "*.compression"
)

func topSchema() schema[Config] {
	return schema[Config]{blockTop, merge(serverKeys(), limitKeys(), logKeys(), map[string]handler[Config]{
		"authorization":     sub(authorizationSchema, func(c *Config) *Authorization { return &c.Authorization }),
		"no_auth_user":      put(readString, func(c *Config) *string { return &c.NoAuthUser }),
		"accounts":          decodeAccounts,
		"mappings":          put(readMappings, func(c *Config) *[]Mapping { return &c.Mappings }),
		"system_account":    put(readName, func(c *Config) *string { return &c.SystemAccount }),
		"no_system_account": onlyShown(put(readBool, func(c *Config) *bool { return &c.NoSystemAccount }), "there is always a system account"),
		"cluster":           sub(clusterSchema, func(c *Config) *Cluster { return &c.Cluster }),
		"jetstream":         decodeJetStream,
		"store_dir":         put(readString, func(c *Config) *string { return &c.JetStream.StoreDir }),
		"feature_flags":     decodeFeatureFlags,
	})}
}

func merge[T any](parts ...map[string]handler[T]) map[string]handler[T] {
	all := map[string]handler[T]{}
	for _, part := range parts {
		for k, h := range part {
			all[k] = h
		}
	}
	return all
}

func serverKeys() map[string]handler[Config] {
	return map[string]handler[Config]{
		"server_name":     put(readName, func(c *Config) *string { return &c.ServerName }),
		"server_tags":     decodeTags,
		"server_metadata": decodeMetadata,
		"listen": func(d *decoder, f *field, c *Config) {
			readListen(d, f, &c.Host, &c.Port)
		},
		"host":             put(readString, func(c *Config) *string { return &c.Host }),
		"port":             decodeClientPort,
		"client_advertise": put(readAdvertise, func(c *Config) *string { return &c.ClientAdvertise }),
		"http": func(d *decoder, f *field, c *Config) {
			readListen(d, f, &c.HTTPHost, &c.HTTPPort)
		},
		"http_port":              put(readPort, func(c *Config) *int { return &c.HTTPPort }),
		"http_base_path":         decodeBasePath,
		"pidfile":                put(readString, func(c *Config) *string { return &c.PIDFile }),
		"ports_file_dir":         put(readString, func(c *Config) *string { return &c.PortsFileDir }),
		"lame_duck_duration":     put(readDuration, func(c *Config) *time.Duration { return &c.LameDuck.Duration }),
		"lame_duck_grace_period": put(readDuration, func(c *Config) *time.Duration { return &c.LameDuck.Grace }),
		// The cache of subject matches is always on and bounded.
		"disable_sublist_cache": noEffect[Config](readBool),
		// Failed connections to other servers are logged once per peer and state.
		"connect_error_reports":   noEffect[Config](readCount),
		"reconnect_error_reports": noEffect[Config](readCount),
	}
}

func limitKeys() map[string]handler[Config] {
	return map[string]handler[Config]{
		"no_header_support":  put(readBool, func(c *Config) *bool { return &c.Limits.NoHeaders }),
		"max_control_line":   put(readByteCount, func(c *Config) *int { return &c.Limits.MaxControlLine }),
		"max_payload":        put(readByteCount, func(c *Config) *int { return &c.Limits.MaxPayload }),
		"max_pending":        put(readSize, func(c *Config) *int64 { return &c.Limits.MaxPending }),
		"max_connections":    put(readLimit, func(c *Config) *int { return &c.Limits.MaxConnections }),
		"max_subscriptions":  put(readLimit, func(c *Config) *int { return &c.Limits.MaxSubscriptions }),
		"max_sub_tokens":     put(readSubTokens, func(c *Config) *int { return &c.Limits.MaxSubTokens }),
		"max_closed_clients": put(readCount, func(c *Config) *int { return &c.Limits.MaxClosedClients }),
		"ping_max":           put(readCount, func(c *Config) *int { return &c.Limits.PingMax }),
		"ping_interval":      decodePositive(func(c *Config) *time.Duration { return &c.Limits.PingInterval }),
		"write_deadline":     decodePositive(func(c *Config) *time.Duration { return &c.Limits.WriteDeadline }),
	}
}

func logKeys() map[string]handler[Config] {
	return map[string]handler[Config]{
		"debug":              put(readBool, func(c *Config) *bool { return &c.Log.Debug }),
		"trace":              put(readBool, func(c *Config) *bool { return &c.Log.Trace }),
		"trace_verbose":      put(readBool, func(c *Config) *bool { return &c.Log.TraceVerbose }),
		"trace_headers":      put(readBool, func(c *Config) *bool { return &c.Log.TraceHeaders }),
		"max_traced_msg_len": put(readCount, func(c *Config) *int { return &c.Log.MaxTracedLen }),
		"logtime":            put(readBool, func(c *Config) *bool { return &c.Log.Time }),
		"logtime_utc":        put(readBool, func(c *Config) *bool { return &c.Log.UTC }),
		"logfile":            put(readString, func(c *Config) *string { return &c.Log.File }),
		"logfile_size_limit": put(readSize, func(c *Config) *int64 { return &c.Log.SizeLimit }),
		"logfile_max_num":    put(readCount, func(c *Config) *int { return &c.Log.MaxFiles }),
	}
}

// decodePositive reads a duration above zero.
func decodePositive[T any](at func(*T) *time.Duration) handler[T] {
	return func(d *decoder, f *field, t *T) {
		v, ok := readDuration(d, f)
		if ok && v <= 0 {
			d.fault(f, "must be above zero")
			return
		}
		if ok {
			*at(t) = v
		}
	}
}

func readSubTokens(d *decoder, f *field) (int, bool) {
	n, ok := readInt(d, f)
	if ok && (n < 0 || n > 255) {
		d.fault(f, "must be from 0 to 255, which %d is not", n)
		return 0, false
	}
	return n, ok
}

// decodeClientPort takes 0 as the default, as nats-server does.
func decodeClientPort(d *decoder, f *field, c *Config) {
	if n, ok := readPort(d, f); ok {
		c.Port = n
		if n == 0 {
			c.Port = DefaultPort
		}
	}
}

func decodeTags(d *decoder, f *field, c *Config) {
	tags, ok := readStrings(d, f)
	if !ok {
		return
	}
	c.Tags = nil
	for _, tag := range tags {
		c.Tags = append(c.Tags, strings.ToLower(strings.TrimSpace(tag)))
	}
}

func decodeMetadata(d *decoder, f *field, c *Config) {
	if !d.is(f, kindBlock) {
		return
	}
	c.Metadata = map[string]string{}
	for _, m := range f.value.fields.fields {
		if v, ok := readString(d, m); ok {
			c.Metadata[m.key] = v
		}
	}
}

func decodeBasePath(d *decoder, f *field, c *Config) {
	path, ok := readString(d, f)
	if !ok {
		return
	}
	if path = strings.Trim(path, "/"); path != "" {
		path = "/" + path
	}
	c.HTTPBasePath = path
}

// readListen reads "host:port", or ":port" or a port, which leave host as it is.
func readListen(d *decoder, f *field, host *string, port *int) {
	if f.value.kind == kindInt {
		if n, ok := readPort(d, f); ok {
			*port = n
		}
		return
	}
	if f.value.kind != kindString {
		d.fault(f, "must be host:port or a port, not %s", describe(f.value))
		return
	}
	h, p, err := net.SplitHostPort(f.value.text)
	n, convErr := strconv.Atoi(p)
	if err != nil || convErr != nil || n < -1 || n > 65535 {
		d.fault(f, "must be host:port or a port, which %q is not", f.value.text)
		return
	}
	*port = n
	if h != "" {
		*host = h
	}
}

// readAdvertise reads "host" or "host:port".
func readAdvertise(d *decoder, f *field) (string, bool) {
	s, ok := readString(d, f)
	if !ok {
		return "", false
	}
	if err := checkAdvertise(s); err != "" {
		d.fault(f, "%s", err)
		return "", false
	}
	return s, true
}

func checkAdvertise(s string) string {
	host, port := s, ""
	if strings.Contains(s, ":") && net.ParseIP(s) == nil {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "must be host or host:port, which " + strconv.Quote(s) + " is not"
		}
		if n, err := strconv.Atoi(port); err != nil || n < -1 || n > 65535 {
			return "has no valid port in " + strconv.Quote(s)
		}
	}
	if host == "" && port != "" {
		return "has no host in " + strconv.Quote(s)
	}
	return ""
}
