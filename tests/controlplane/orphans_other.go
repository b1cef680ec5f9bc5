//go:build !linux

package main

import "syscall"

// endsWithParent does nothing here: a killed `up` leaves its children behind.
func endsWithParent() *syscall.SysProcAttr {
	return nil
}
