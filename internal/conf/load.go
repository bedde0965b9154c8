package conf

import (
	"fmt"
	"os"
	"path/filepath"
)

// Override changes a configuration after the file was read and before it is
// validated. Command line flags are overrides.
type Override func(*Config)

// Load reads the file at path. The error is an [Errors] unless the file cannot
// be read.
func Load(path string, overrides ...Override) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(string(text), path, overrides...)
}

// Parse reads text as if it were the file at name, which is used in messages and
// for the paths of included files. The error is an [Errors].
func Parse(text, name string, overrides ...Override) (*Config, error) {
	return parseConfig(source{os.ReadFile, os.LookupEnv}, text, name, overrides)
}

// New returns the default configuration with overrides. The error is an
// [Errors].
func New(overrides ...Override) (*Config, error) {
	return Parse("", "", overrides...)
}

func parseConfig(src source, text, name string, overrides []Override) (*Config, error) {
	root, err := parseText(src, name, text)
	if err != nil {
		return nil, err
	}
	c := Default()
	c.File = name
	c.Digest = root.digest()
	c.keyPos = map[string]Pos{}
	c.HTTPHost = ""
	d := &decoder{cfg: c}
	topSchema().decode(d, root, c)
	for _, override := range overrides {
		override(c)
	}
	if c.HTTPHost == "" {
		c.HTTPHost = c.Host
	}
	if err := d.result(c); err != nil {
		return nil, err
	}
	c.Warnings = append(d.warnings, c.advice()...)
	return c, nil
}

// result is every fault. What does not fit together is only looked for between
// values that are right in themselves.
func (d *decoder) result(c *Config) error {
	if len(d.faults) > 0 {
		return d.faults.err()
	}
	return c.Validate()
}

// StorePath is the directory that JetStream stores into: StoreDir, or one in the
// system's temporary directory.
func (j *JetStream) StorePath() string {
	if j.StoreDir != "" {
		return j.StoreDir
	}
	return filepath.Join(os.TempDir(), "weir")
}
