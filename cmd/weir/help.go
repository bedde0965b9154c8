package main

const usage = `Weir, a messaging server that speaks the NATS protocol.

Usage:
    weir [serve] [flags]   run one server
    weir dev [flags]       run a cluster on this machine; see weir dev -h
    weir scrub [flags]     check the stored data of a stopped server; see weir scrub -h
    weir version
    weir help

Server:
    -a, --addr, --net HOST           listen on this host (0.0.0.0)
    -p, --port PORT                  listen on this port for clients (4222; -1 is any)
    -n, --name, --server_name NAME   name of the server
    -P, --pid FILE                   write the process id to a file
    -m, --http_port PORT             listen on this port for monitoring
    -c, --config FILE                configuration file; flags win over it
    -t                               check the configuration and exit
    -sl, --signal COMMAND[=PID]      signal a running server: stop, quit, term, reopen,
                                     reload, ldm; PID is a number or a pid file
        --client_advertise HOST:PORT address that clients and other servers are told
        --ports_file_dir DIR         write the listeners' addresses to a file there

Logging:
    -l, --log FILE                   log to a file
        --log_size_limit BYTES       rotate it at this size
    -T, --logtime=BOOL               timestamps on lines (true)
        --logtime_utc                timestamps in UTC
    -D, --debug                      debug lines
    -V, --trace                      trace the protocol
    -VV                              trace it with the system account
    -DV, -DVV                        both
        --max_traced_msg_len BYTES   longest payload in a trace

JetStream:
    -js, --jetstream                 enable JetStream
    -sd, --store_dir DIR             where it stores

Authorization:
        --user NAME                  user that clients must name
        --pass PASSWORD              and its password
        --auth TOKEN                 or a token

Cluster:
        --cluster, --cluster_listen URL   listen for other servers; empty: no cluster
        --cluster_name NAME
        --cluster_advertise HOST:PORT     address that other servers are told
        --routes URL,URL             servers to connect to
        --no_advertise               keep this server from clients of others
        --connect_retries N          tries to reach servers that others told of

Other:
    -h, --help
    -v, --version
`

const devUsage = `Runs a Weir cluster with JetStream on this machine, in one process.

Usage:
    weir dev [flags]

        --nodes N      number of servers (3)
        --data DIR     where they store; kept for the next run (weir-data)
        --memory       store in memory only
        --port PORT    client port of the first server, the next ones follow (4222)
        --http PORT    monitoring port of the first server, the next ones follow (8222)
        --verbose      all log lines, not only warnings and errors
    -D, --debug        debug lines too
`

const scrubUsage = `Reads all that a stopped server has stored, and says what is damaged. The exit
status is 1 if anything is.

Usage:
    weir scrub -c FILE      the server's configuration file
    weir scrub --data DIR   or the directory that it stores in (store_dir)
`
