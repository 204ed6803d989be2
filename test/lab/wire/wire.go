// Package wire is a controllable network: hosts that are namespaces of this machine, and
// between each two of them a link in each direction that delays, loses, repeats or refuses
// packets, by a rule that can be changed at any time.
//
// Each host has one interface besides its loopback, a TUN device whose other end is held
// here. So IP packets are carried, without ARP that could be lost, and the kernel needs
// nothing but namespaces: netem is often missing. The test reaches a host from inside,
// through sockets created in its namespace (Host.Dial), so no rule is ever in its way, and
// nothing leads out of the network.
//
// A link is a queue. A packet on its way arrives, whatever rule comes later; what is sent
// afterwards waits behind it. A queue holds [capacity] packets; further packets are lost,
// as at a router, and counted.
//
// All names on the machine begin with "labwire" and the number of the wire. The number is
// claimed by a socket that the kernel closes when the process ends in any way: the process
// that gets the number knows that everything else with it is left from a killed run. [New]
// removes all of that.
package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
)

// Wire is a network, until it is closed.
type Wire struct {
	number int
	claim  net.Listener // claims the number
	hosts  []*Host
	links  map[ends]*Link

	stop   chan struct{} // closed by Close
	group  sync.WaitGroup
	close  sync.Once
	closed error // the result of Close
}

// Host is one namespace.
type Host struct {
	Name      string
	Namespace string
	Address   netip.Addr

	device *os.File
}

type ends struct{ from, to string }

// maxHosts is how many hosts have an address.
const maxHosts = 254

// Possible returns why no wire can be created here, nil if one can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make a namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("iproute2 is not installed: %w", err)
	}
	if _, err := os.Stat(tunDevice); err != nil {
		return fmt.Errorf("no TUN devices: %w", err)
	}
	return nil
}

// New creates a network of hosts without any fault. Random decisions of a link follow from
// seed and the names of its ends.
func New(seed uint64, hosts ...string) (*Wire, error) {
	if len(hosts) > maxHosts {
		return nil, fmt.Errorf("%d hosts, a wire has addresses for %d", len(hosts), maxHosts)
	}
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("sweep up after runs that were killed: %w", err)
	}
	w := &Wire{links: make(map[ends]*Link), stop: make(chan struct{})}
	if err := w.build(hosts); err != nil {
		return nil, errors.Join(fmt.Errorf("make a wire: %w", err), w.Close())
	}
	for _, from := range w.hosts {
		for _, to := range w.hosts {
			if from != to {
				w.links[ends{from.Name, to.Name}] = newLink(seed, from, to)
			}
		}
	}
	for _, l := range w.links {
		w.group.Go(func() { l.deliver(w.stop) })
	}
	for _, h := range w.hosts {
		w.group.Go(func() { w.carry(h) })
	}
	return w, nil
}

// Host returns the host of that name; it must exist.
func (w *Wire) Host(name string) *Host {
	i := slices.IndexFunc(w.hosts, func(h *Host) bool { return h.Name == name })
	return w.hosts[i]
}

// Dial connects to an address from the host itself, whatever the rules are.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = within(h.Namespace, func() (err error) {
		// For a numeric address the dialer needs no other thread.
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial on %s: %w", h.Name, err)
	}
	return c, nil
}

// Dial connects to an address of the network from the host that has it.
func (w *Wire) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	for _, h := range w.hosts {
		if h.Address == at.Addr() {
			return h.Dial(ctx, network, address)
		}
	}
	return nil, fmt.Errorf("dial: no host has %s", at.Addr())
}

// Link returns the link from one host to another; both must exist. The other direction is
// another link.
func (w *Wire) Link(from, to string) *Link { return w.links[ends{from, to}] }

// Set sets the rule of each link from one of the hosts to another.
func (w *Wire) Set(from, to []string, r Rule) {
	for _, a := range from {
		for _, b := range to {
			w.Link(a, b).Set(r)
		}
	}
}

// Heal removes all rules.
func (w *Wire) Heal() {
	for _, l := range w.links {
		l.Set(Rule{})
	}
}

// Counts returns the sum of the counts of all links from one of the hosts to another.
func (w *Wire) Counts(from, to []string) Counts {
	var sum Counts
	for _, a := range from {
		for _, b := range to {
			sum = sum.Plus(w.Link(a, b).Counts())
		}
	}
	return sum
}

// Close ends the network and removes its namespaces. Processes that are left in them are
// killed and reported as an error: their starter should have ended them.
func (w *Wire) Close() error {
	w.close.Do(func() {
		close(w.stop)
		for _, h := range w.hosts {
			w.closed = errors.Join(w.closed, removeEmpty(h.Namespace))
			if h.device != nil {
				w.closed = errors.Join(w.closed, h.device.Close())
			}
		}
		w.group.Wait()
		if w.claim != nil {
			w.closed = errors.Join(w.closed, w.claim.Close())
		}
	})
	return w.closed
}

// carry brings each packet from a host to its link, until the host's device is closed.
func (w *Wire) carry(from *Host) {
	buf := make([]byte, 1<<16)
	for {
		n, err := from.device.Read(buf)
		if err != nil {
			return
		}
		p := packet(slices.Clone(buf[:n]))
		if !p.valid() {
			continue
		}
		for _, h := range w.hosts {
			if h.Address == p.to() && h != from {
				w.Link(from.Name, h.Name).take(p)
			}
		}
	}
}

// receive puts a packet into a host's device. A packet that the kernel does not accept is
// lost, as any packet may be.
func (h *Host) receive(p packet) { _, _ = h.device.Write(p) }
