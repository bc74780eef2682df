//go:build !linux

package main

// harden does nothing here: only Linux is known to need and allow it.
func harden() error { return nil }
