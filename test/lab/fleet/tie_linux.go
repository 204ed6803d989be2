package fleet

import (
	"os/exec"
	"syscall"
)

// tie makes the kernel kill a process when the thread that started it ends, and keeps a
// terminal's interrupt from it.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
