package conn

import "time"

// Reason says why a connection ended, in the words of the monitoring endpoints.
type Reason string

// Why connections end.
const (
	ReasonClientClosed       Reason = "Client Closed"
	ReasonAuthFailure        Reason = "Authentication Failure"
	ReasonAuthTimeout        Reason = "Authentication Timeout"
	ReasonSlowPending        Reason = "Slow Consumer (Pending Bytes)"
	ReasonSlowWrite          Reason = "Slow Consumer (Write Deadline)"
	ReasonWriteError         Reason = "Write Error"
	ReasonReadError          Reason = "Read Error"
	ReasonParseError         Reason = "Parse Error"
	ReasonBadProtocol        Reason = "Bad Client Protocol Version"
	ReasonStale              Reason = "Stale Connection"
	ReasonProtocolViolation  Reason = "Protocol Violation"
	ReasonMaxPayload         Reason = "Maximum Message Payload Exceeded"
	ReasonMaxConnections     Reason = "Maximum Connections Exceeded"
	ReasonMaxAccountConns    Reason = "Maximum Account Connections Exceeded"
	ReasonMaxControlLine     Reason = "Maximum Control Line Exceeded"
	ReasonMissingHeaders     Reason = "No Responders Requires Headers"
	ReasonServerShutdown     Reason = "Server Shutdown"
	ReasonKicked             Reason = "Kicked"
	ReasonCredentialsRevoked Reason = "Credentials Revoked"
)

// slow tells whether the client was sent away for not reading fast enough.
func (r Reason) slow() bool { return r == ReasonSlowPending || r == ReasonSlowWrite }

// linger is how long the client may take to read what is queued for it.
func (r Reason) linger() time.Duration {
	if r == ReasonServerShutdown {
		return shutdownTime
	}
	return lingerTime
}

// Texts of -ERR.
const (
	errAuthViolation   = "Authorization Violation"
	errAuthTimeout     = "Authentication Timeout"
	errStale           = "Stale Connection"
	errMaxConnections  = "maximum connections exceeded"
	errMaxAccountConns = "maximum account active connections exceeded"
	errMaxSubs         = "maximum subscriptions exceeded"
	errMaxAccountSubs  = "maximum account subscriptions exceeded"
	errNeedsHeaders    = "no responders requires headers support"
	errPublishSubject  = "Invalid Publish Subject"
	errSubject         = "Invalid Subject"
	errBadProtocol     = "invalid client protocol"
)
