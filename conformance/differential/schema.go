package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/jsm.go/schemas"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schemas checks documents by the published schema of the type that they name.
type Schemas struct {
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

// Check checks one document.
func (s *Schemas) Check(doc []byte) error {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return fmt.Errorf("not a document: %w", err)
	}
	schema, err := s.schema(head.Type)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// schema finds the schema of a type: io.nats.jetstream.api.v1.x is in the file
// jetstream/api/v1/x.json.
func (s *Schemas) schema(kind string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.compiled[kind]; c != nil {
		return c, nil
	}
	name, ok := strings.CutPrefix(kind, "io.nats.")
	if !ok {
		return nil, fmt.Errorf("%q is not a type", kind)
	}
	text, err := schemas.Load(strings.ReplaceAll(name, ".", "/") + ".json")
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(kind, doc); err != nil {
		return nil, err
	}
	c, err := compiler.Compile(kind)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", kind, err)
	}
	if s.compiled == nil {
		s.compiled = map[string]*jsonschema.Schema{}
	}
	s.compiled[kind] = c
	return c, nil
}
