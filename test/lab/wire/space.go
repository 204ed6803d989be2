package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// prefix begins each name that a wire has on the machine.
const prefix = "labwire"

// maxWires is how many wires a machine may have at a time.
const maxWires = 256

func wireName(number int) string { return prefix + strconv.Itoa(number) }

func namespace(number int, host string) string { return wireName(number) + "." + host }

// hostAddress is from the range reserved for network tests (RFC 2544).
func hostAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)}) }

// build claims a number, and creates the namespaces and their content.
func (w *Wire) build(hosts []string) (err error) {
	for w.number = range maxWires {
		if w.claim, err = claim(w.number); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	for i, name := range hosts {
		h := &Host{Name: name, Namespace: namespace(w.number, name), Address: hostAddress(i)}
		if err := ip("netns add " + h.Namespace); err != nil {
			return err
		}
		w.hosts = append(w.hosts, h)
		if err := h.connect(fmt.Sprintf("lw%d.%d", w.number, i)); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
	}
	return nil
}

// claim takes a number, unless another process has it: an abstract address is free again
// once its process has ended.
func claim(number int) (net.Listener, error) {
	l, err := net.Listen("unix", "@"+wireName(number))
	if err != nil {
		return nil, fmt.Errorf("claim wire %d: %w", number, err)
	}
	return l, nil
}

// connect gives the host a device. It has another name until it is in the namespace, where
// there is no other device.
func (h *Host) connect(passing string) (err error) {
	if h.device, err = newDevice(passing); err != nil {
		return err
	}
	if err := ip("link set " + passing + " netns " + h.Namespace + " name wire"); err != nil {
		return err
	}
	return ipIn(h.Namespace, "link set lo up", fmt.Sprintf("addr add %s/24 dev wire", h.Address), "link set wire up")
}

// sweep removes what killed runs have left behind.
func sweep() error {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	left := make(map[int][]string)
	for line := range strings.Lines(string(out)) {
		space, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		digits, _, ok := strings.Cut(strings.TrimPrefix(space, prefix), ".")
		number, err := strconv.Atoi(digits)
		if ok && err == nil && strings.HasPrefix(space, prefix) {
			left[number] = append(left[number], space)
		}
	}
	for number, spaces := range left {
		mine, err := claim(number)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // a wire that is in use
		}
		if err != nil {
			return err
		}
		for _, space := range spaces {
			_, problem := removeSpace(space) // the process that would have ended its processes is gone
			err = errors.Join(err, problem)
		}
		if err := errors.Join(err, mine.Close()); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes a namespace in which nothing should run any more.
func removeEmpty(space string) error {
	killed, err := removeSpace(space)
	if len(killed) > 0 {
		err = errors.Join(err, fmt.Errorf("processes %v were left in %s", killed, space))
	}
	return err
}

// removeSpace removes a namespace and kills the processes in it. They belong to its run:
// nobody else knows it.
func removeSpace(space string) (killed []int, err error) {
	out, err := exec.Command("ip", "netns", "pids", space).Output()
	if err != nil {
		return nil, fmt.Errorf("list the processes in %s: %w", space, err)
	}
	for _, field := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return killed, fmt.Errorf("processes in %s: %w", space, err)
		}
		if pid == os.Getpid() {
			continue // a thread of this process is there to create a socket
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed = append(killed, pid)
		}
	}
	return killed, ip("netns delete " + space)
}

// ip runs commands of iproute2.
func ip(commands ...string) error { return ipIn("", commands...) }

// ipIn runs them in a namespace, if one is named.
func ipIn(space string, commands ...string) error {
	args := []string{"-batch", "-"}
	if space != "" {
		args = append([]string{"-netns", space}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(commands, "; "), err, bytes.TrimSpace(out))
	}
	return nil
}
