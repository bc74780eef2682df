package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// buildName is what the audit log calls this program.
func buildName() string { return version }

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "The version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			built := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
			if commit != "" {
				built = "commit " + commit + ", " + built
			}
			_, err := fmt.Fprintf(c.out, "rotator %s (%s)\n", version, built)
			return err //nolint:wrapcheck // stdout is gone: nothing to add
		},
	}
}
