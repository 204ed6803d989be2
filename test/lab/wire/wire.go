// Package wire is a network that does what it is told: hosts that are namespaces of
// this machine, and between each two of them a link in each direction that delays,
// loses, repeats or refuses what is sent over it, by a rule that can be changed at
// any time.
//
// Each host has two interfaces. By the first, at Host.Address, hosts reach one another
// over the links. By the second, at Host.Aside, the runner reaches every host, and no
// rule is ever in its way; it does not lead from one host to another. Both are TUN
// devices whose other ends are held here, so a packet of IP is what is carried, with
// no ARP to be lost on its way, and the kernel needs nothing that this package does
// not have: netem is in few of them.
//
// A link is a queue. What is on its way arrives, whatever rule comes later; what is
// sent after it waits behind it. A queue holds [capacity] packets, and what comes to a
// full one is lost, as at a router, and counted.
//
// All names on the machine begin with "labwire" and the number of the wire. The device
// that the runner has in the root namespace is called so as well; it lives as long as
// the process that made it, so whoever can make it knows that whatever else has the
// number is left from a run that was killed. [New] sweeps all of that away.
package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
)

// Wire is a network, until it is closed.
type Wire struct {
	number int
	runner *os.File // the runner's device
	hosts  []*Host
	links  map[ends]*Link

	stop   chan struct{} // closed by Close
	group  sync.WaitGroup
	close  sync.Once
	closed error // what Close returned, once it has
}

// Host is one namespace.
type Host struct {
	Name      string
	Namespace string
	Address   netip.Addr // where the other hosts reach it
	Aside     netip.Addr // where the runner reaches it

	wire, aside *os.File
}

type ends struct{ from, to string }

// maxHosts is how many hosts have an address; the runner has the one after them.
const maxHosts = 253

// Possible returns why no wire can be made here, nil if one can.
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

// New makes a network of hosts, with nothing in the way of anything. What a link does
// by chance follows from seed and the names of its ends.
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
		w.group.Go(func() { read(h.wire, func(p packet) { w.carry(h, p) }) })
		w.group.Go(func() { read(h.aside, w.toRunner) })
	}
	w.group.Go(func() { read(w.runner, w.fromRunner) })
	return w, nil
}

// Host returns the host of that name; it has to be there.
func (w *Wire) Host(name string) *Host {
	i := slices.IndexFunc(w.hosts, func(h *Host) bool { return h.Name == name })
	return w.hosts[i]
}

// Link returns the link from one host to another, which have to be there. Rules for
// the other direction are those of another link.
func (w *Wire) Link(from, to string) *Link { return w.links[ends{from, to}] }

// Set sets the rule of each link from one of the hosts to another.
func (w *Wire) Set(from, to []string, r Rule) {
	for _, a := range from {
		for _, b := range to {
			w.Link(a, b).Set(r)
		}
	}
}

// Heal takes all rules away.
func (w *Wire) Heal() {
	for _, l := range w.links {
		l.Set(Rule{})
	}
}

// Counts returns what all links from one of the hosts to another have done in all.
func (w *Wire) Counts(from, to []string) Counts {
	var sum Counts
	for _, a := range from {
		for _, b := range to {
			sum = sum.plus(w.Link(a, b).Counts())
		}
	}
	return sum
}

// Close ends the network and removes its namespaces. Processes that are left in them
// are killed and are an error: who started them should have ended them.
func (w *Wire) Close() error {
	w.close.Do(func() {
		close(w.stop)
		for _, h := range w.hosts {
			w.closed = errors.Join(w.closed, removeEmpty(h.Namespace), closeDevice(h.wire), closeDevice(h.aside))
		}
		w.closed = errors.Join(w.closed, closeDevice(w.runner))
		w.group.Wait()
	})
	return w.closed
}

func closeDevice(f *os.File) error {
	if f == nil {
		return nil // was not made
	}
	return f.Close()
}

// carry brings a packet that from has sent to the link that it is for.
func (w *Wire) carry(from *Host, p packet) {
	for _, h := range w.hosts {
		if h.Address == p.to() && h != from {
			w.Link(from.Name, h.Name).take(p)
		}
	}
}

func (w *Wire) toRunner(p packet) {
	if p.to() == runnerAddress(w.number) {
		send(w.runner, p)
	}
}

func (w *Wire) fromRunner(p packet) {
	for _, h := range w.hosts {
		if h.Aside == p.to() {
			send(h.aside, p)
		}
	}
}

// read hands on each packet that comes out of a device, until that is closed.
func read(device *os.File, take func(packet)) {
	buf := make([]byte, 1<<16)
	for {
		n, err := device.Read(buf)
		if err != nil {
			return
		}
		if p := packet(slices.Clone(buf[:n])); p.valid() {
			take(p)
		}
	}
}

// send puts a packet into a device. One that the kernel does not take is lost, as any
// packet may be.
func send(device *os.File, p packet) { _, _ = device.Write(p) }
