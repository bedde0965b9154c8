package monitor

// Export is what an account offers to others.
type Export struct {
	Subject string `json:"subject"`
	Type    string `json:"type"` // "stream" or "service"
	// ResponseType is Singleton, Streamed or Chunked; of a service.
	ResponseType     string   `json:"response_type,omitempty"`
	ApprovedAccounts []string `json:"approved_accounts,omitempty"`
}

// Import is what an account uses of another one.
type Import struct {
	Subject      string `json:"subject"`
	Account      string `json:"account"`
	To           string `json:"to,omitempty"` // of a service
	LocalSubject string `json:"local_subject"`
	Type         string `json:"type"` // as in Export
	Invalid      bool   `json:"invalid"`
	Share        bool   `json:"share"`
	Tracking     bool   `json:"tracking"`
}

// MappingDestination is where what is published to a mapped subject goes.
type MappingDestination struct {
	Subject string `json:"subject"`
	Weight  int    `json:"weight"` // percent
	Cluster string `json:"cluster,omitempty"`
}
