package server

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"
)

// maxCPUProfile bounds the time that a profile of the CPU takes.
const maxCPUProfile = 15 * time.Second

var errStopping = errors.New("the server is being stopped")

// profileRequest is the body of PROFILEZ: the name of a profile of the Go process, or
// cpu with the time that it is to take; in the form that debug says, 0 for tools.
type profileRequest struct {
	Name     string        `json:"name"`
	Debug    int           `json:"debug"`
	Duration time.Duration `json:"duration,omitempty"`
}

type profilez struct {
	Profile []byte `json:"profile"`
	Error   string `json:"error,omitempty"`
}

// profilez answers PROFILEZ. It may take seconds: profiles have a worker of their own.
func (y *system) profilez(body []byte) (any, error) {
	req, err := options[profileRequest](body)
	if err != nil {
		return nil, err
	}
	var z profilez
	if z.Profile, err = y.profile(&req); err != nil {
		z = profilez{Error: err.Error()}
	}
	return dataReply{Server: y.identity(), Data: z}, nil
}

func (y *system) profile(req *profileRequest) ([]byte, error) {
	var out bytes.Buffer
	switch req.Name {
	case "":
		return nil, errors.New("profile name not specified")
	case "cpu":
		err := y.profileCPU(req.Duration, &out)
		return out.Bytes(), err
	}
	p := pprof.Lookup(req.Name)
	if p == nil {
		return nil, fmt.Errorf("profile %q not found", req.Name)
	}
	err := p.WriteTo(&out, req.Debug)
	return out.Bytes(), err
}

func (y *system) profileCPU(d time.Duration, out *bytes.Buffer) error {
	if d <= 0 || d > maxCPUProfile {
		return fmt.Errorf("duration %s should be between 0s and %s", d, maxCPUProfile)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	over := make(chan struct{})
	defer y.server.clock.AfterFunc(d, func() { close(over) }).Stop()
	select {
	case <-over:
		return nil
	case <-y.quit:
		return errStopping
	}
}
