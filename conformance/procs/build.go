package procs

import (
	"context"
	"fmt"
	"os/exec"
)

// BuildWeir builds the program of the module in dir to the file out.
func BuildWeir(ctx context.Context, dir, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "./cmd/weir")
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build weir: %w\n%s", err, text)
	}
	return nil
}
