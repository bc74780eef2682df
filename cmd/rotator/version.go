package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// buildName is what the audit log calls this program.
func buildName() string {
	if commit == "" {
		return version
	}
	return version + "+" + commit
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "The version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.out, "rotator %s (%s, %s/%s)\n", buildName(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err //nolint:wrapcheck // stdout is gone: nothing to add
		},
	}
}
