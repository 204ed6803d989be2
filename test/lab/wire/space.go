package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// prefix begins each name that a wire has on the machine.
const prefix = "labwire"

// maxWires is how many wires a machine may have at a time: each has a network for the
// runner of its own.
const maxWires = 256

// deviceName is the runner's device, and the claim on the number. The kernel allows 15
// characters.
func deviceName(number int) string { return prefix + strconv.Itoa(number) }

func namespace(number int, host string) string { return deviceName(number) + "." + host }

// The addresses are out of what is set aside for tests of networks (RFC 2544).
func hostAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)}) }

func asideAddress(number, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 19, byte(number), byte(i + 1)})
}

func runnerAddress(number int) netip.Addr { return asideAddress(number, maxHosts) }

// build claims a number, and makes the namespaces with what is in them.
func (w *Wire) build(hosts []string) (err error) {
	if w.number, w.runner, err = claim(); err != nil {
		return err
	}
	if err := up("", deviceName(w.number), runnerAddress(w.number)); err != nil {
		return err
	}
	for i, name := range hosts {
		h := &Host{
			Name: name, Namespace: namespace(w.number, name),
			Address: hostAddress(i), Aside: asideAddress(w.number, i),
		}
		if err := ip("netns add " + h.Namespace); err != nil {
			return err
		}
		w.hosts = append(w.hosts, h)
		if err := h.connect(w.number, i); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
	}
	return nil
}

// claim takes the first number that is free.
func claim() (int, *os.File, error) {
	for number := range maxWires {
		device, err := newDevice(deviceName(number))
		if !errors.Is(err, errTaken) {
			return number, device, err
		}
	}
	return 0, nil, fmt.Errorf("%d wires are in use", maxWires)
}

// connect puts both devices into the namespace.
func (h *Host) connect(number, i int) (err error) {
	wire, aside := fmt.Sprintf("lw%d.%dw", number, i), fmt.Sprintf("lw%d.%da", number, i)
	if h.wire, err = newDevice(wire); err != nil {
		return err
	}
	if h.aside, err = newDevice(aside); err != nil {
		return err
	}
	err = ip("link set "+wire+" netns "+h.Namespace+" name wire", "link set "+aside+" netns "+h.Namespace+" name aside")
	if err != nil {
		return err
	}
	if err := ipIn(h.Namespace, "link set lo up"); err != nil {
		return err
	}
	if err := up(h.Namespace, "wire", h.Address); err != nil {
		return err
	}
	return up(h.Namespace, "aside", h.Aside)
}

// up gives a device its address.
func up(space, device string, address netip.Addr) error {
	return ipIn(space, fmt.Sprintf("addr add %s/24 dev %s", address, device), "link set "+device+" up")
}

// sweep removes what runs have left that were killed.
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
		device, err := newDevice(deviceName(number))
		if errors.Is(err, errTaken) {
			continue // a wire that is in use
		}
		if err != nil {
			return err
		}
		for _, space := range spaces {
			// Its processes have lost who would have ended them.
			if killed, err := removeSpace(space); err != nil {
				return errors.Join(fmt.Errorf("after %d processes: %w", len(killed), err), device.Close())
			}
		}
		if err := device.Close(); err != nil {
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

// removeSpace removes a namespace and kills the processes in it, which are then those
// of its run: nobody else knows it.
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
