package main

import (
	"runtime"
	"syscall"
)

func init() {
	// The death signal comes when the thread that started the child ends. The main goroutine's thread, which init
	// runs on, lives as long as the process does.
	runtime.LockOSThread()
}

// endsWithParent has the kernel kill a child whose parent is gone, however that came.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
