package host

import (
	"path"

	"golang.org/x/sys/unix"

	"ukdump/internal/rtnl"
)

// NetworkError says that the capture kernel could not reach a server as the running
// kernel does.
type NetworkError struct {
	Server string // as it was asked for
	What   string // kind of the link: "Wi-Fi link"
	Name   string // which one: "wlan0"
	Why    string

	Remedy string // replaces the usual advice
}

func (e *NetworkError) Error() string {
	return "route to " + e.Server + ": " + e.What + " " + e.Name + " is not supported: " + e.Why
}

// Advice returns the remedy.
func (e *NetworkError) Advice() string {
	if e.Remedy != "" {
		return e.Remedy
	}
	return "Set TARGET= to a directory on a disk of this machine, or to a server that is reached over an Ethernet card; or set MODE=emergency, in which the distribution's own services connect."
}

// AbsentError says that a server cannot be reached at the moment: its name does not
// resolve, or no route leads to it. A later try may succeed with the same configuration.
type AbsentError struct{ Err error }

func (e *AbsentError) Error() string { return e.Err.Error() }

// Unwrap returns the failure of the look-up.
func (e *AbsentError) Unwrap() error { return e.Err }

// refuse returns the error for a link.
func (w *walk) refuse(l rtnl.Link, what, why string) error {
	return &NetworkError{Server: w.server, What: what, Name: l.Name, Why: why}
}

const (
	byProgram   = "a program of the running system serves it"
	inContainer = "its peer is in another network namespace"
	notEthernet = "the capture kernel sets up Ethernet, VLANs and bonds only"
)

// linkKinds are links that are not hardware, by the kind that ip-link(8) prints.
var linkKinds = map[string]struct{ what, why string }{
	"wireguard":   {"WireGuard link", "its keys are in no plan"},
	"tun":         {"TUN or TAP link", byProgram},
	"team":        {"team", "teamd makes it"},
	"openvswitch": {"Open vSwitch link", byProgram},
	"ppp":         {"PPP link", byProgram},
	"wwan":        {"mobile link", byProgram},
	"veth":        {"veth link", inContainer},
	"netkit":      {"netkit link", inContainer},
	"macvlan":     {"macvlan link", inContainer},
	"macvtap":     {"macvtap link", inContainer},
	"ipvlan":      {"ipvlan link", inContainer},
	"ipvtap":      {"ipvtap link", inContainer},
	"dsa":         {"switch port", "the switch has to be set up first"},
	"macsec":      {"MACsec link", "its keys are in no plan"},
	"dummy":       {"dummy link", "no network behind it"},
	"ipoib":       {"InfiniBand link", notEthernet},
}

// refuseLink returns the reason that a link cannot be the lowest one, or nil.
func (w *walk) refuseLink(l rtnl.Link) error {
	dir := path.Join(netClass, l.Name)
	device := w.device(l.Name)
	switch {
	case w.host.exists(path.Join(dir, "wireless")) || w.host.exists(path.Join(dir, "phy80211")):
		return w.refuse(l, "Wi-Fi link", "the capture kernel has no wpa_supplicant")
	case l.Type == unix.ARPHRD_INFINIBAND:
		return w.refuse(l, "InfiniBand link", notEthernet)
	case l.Type == unix.ARPHRD_PPP:
		return w.refuse(l, "PPP link", byProgram)
	case l.Type == unix.ARPHRD_RAWIP:
		return w.refuse(l, "mobile link", byProgram)
	}
	if k, ok := linkKinds[l.Kind]; ok {
		e := &NetworkError{Server: w.server, What: k.what, Name: l.Name, Why: k.why}
		if k.why == inContainer && w.inContainer() {
			e.Remedy = "In a container there is nothing to do: what crashes is the host's kernel."
		}
		return e
	}
	switch {
	case l.Kind != "":
		return w.refuse(l, l.Kind+" link", notEthernet)
	case l.Type != unix.ARPHRD_ETHER:
		return w.refuse(l, "link", notEthernet)
	case device == "":
		return w.refuse(l, "virtual link", "no hardware behind it")
	case w.host.exists(path.Join(device, "physfn")):
		return w.refuse(l, "SR-IOV virtual function", "it exists only after its card was told to make it")
	}
	return nil
}

// inContainer reports whether no link of this network namespace is hardware.
func (w *walk) inContainer() bool {
	for _, l := range w.links {
		if w.device(l.Name) != "" {
			return false
		}
	}
	return true
}
