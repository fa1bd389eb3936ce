package test

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ukdump/internal/vmtest"
	"ukdump/test/debian"
)

// wired is a machine whose server is a second machine.
type wired struct {
	name   string
	suite  string
	target string // of nfs or sftp; {keys} is replaced
	setUp  string // of the network, as in addressings
	cards  int    // of each machine, 1 if zero
	model  string // of the cards, virtio-net-pci if empty
	server string // lines for /ukdump-test/server
	conf   string
}

// The addresses are those of test/debian/guest/netserver.
const (
	wiredStatic = "ip addr add 10.77.0.2/24 dev $dev"
	wiredSFTP   = "sftp://root@10.77.0.1/srv/crash"
)

var wiredCells = []wired{
	{name: "nfs", suite: "bookworm", target: "nfs:10.77.0.1:/srv/crash", setUp: wiredStatic},
	{name: "nfs-trixie", suite: "trixie", target: "nfs:10.77.0.1:/srv/crash", setUp: wiredStatic},
	{name: "nfs-sid", suite: "sid", target: "nfs:10.77.0.1:/srv/crash", setUp: wiredStatic},
	{name: "nfs3", suite: "bookworm", target: "nfs:10.77.0.1:/srv/crash", setUp: wiredStatic, conf: "NFS_VERSION=3\n"},
	{name: "nfs-ipv6", suite: "trixie", target: "nfs:[fd77::1]:/srv/crash", setUp: "ip addr add fd77::2/64 dev $dev && sleep 3"},
	{name: "vlan", suite: "bookworm", target: "sftp://root@10.77.7.1/srv/crash",
		setUp: "modprobe 8021q && ip link add link $dev name v7 type vlan id 7 && ip link set v7 up && ip addr add 10.77.7.2/24 dev v7"},
	{name: "bridge", suite: "bookworm", target: wiredSFTP,
		setUp: "modprobe bridge && ip link add br0 type bridge && ip link set $dev master br0 && ip link set br0 up && ip addr add 10.77.0.2/24 dev br0 && sleep 3"},
	{name: "bond", suite: "trixie", cards: 2, target: wiredSFTP, setUp: bondOf("active-backup")},
	// LACP needs cards that have a speed.
	{name: "lacp", suite: "bookworm", cards: 2, model: "e1000e", target: wiredSFTP, setUp: bondOf("802.3ad lacp_rate=fast"), server: "bond=yes\n"},
	{name: "loss", suite: "bookworm", target: wiredSFTP, setUp: wiredStatic, server: "netem='loss 2% delay 20ms 10ms'\n"},
}

// bondOf returns the lines for a bond of all cards.
func bondOf(mode string) string {
	return "modprobe bonding max_bonds=1 miimon=100 mode=" + mode +
		" && for c in eth0 eth1; do ip link set $c down; ip link set $c master bond0; done && ip link set bond0 up && sleep 8 && ip addr add 10.77.0.2/24 dev bond0"
}

// TestNetworkServer crashes machines whose dump goes to a second machine, with a network that
// QEMU's own cannot be.
func TestNetworkServer(t *testing.T) {
	if set := vmSet(t); set != "matrix" {
		t.Skip("UKDUMP_VM=matrix only")
	}
	for _, c := range wiredCells {
		t.Run(c.name, func(t *testing.T) {
			chosen.Add(1)
			t.Parallel()
			c.crash(t)
		})
	}
}

func (c *wired) crash(t *testing.T) {
	repo, err := debian.Repository()
	if err != nil {
		t.Fatal(err)
	}
	root, payload := lab(t, c.suite)
	serverRoot, _ := lab(t, "bookworm")
	debs, err := serverRoot.Packages(t.Context(), repo, []string{"nfs-kernel-server", "openssh-server", "iproute2"}, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	cards := max(c.cards, 1)
	sockets := t.TempDir()
	nics := func(mac, role string) (list []vmtest.NIC) {
		for i := range cards {
			backend := fmt.Sprintf("stream,addr.type=unix,addr.path=%s/%d", sockets, i)
			if role == "server" {
				backend += ",server=on"
			}
			list = append(list, vmtest.NIC{Model: cmp.Or(c.model, "virtio-net-pci"), MAC: fmt.Sprintf("52:54:00:77:%s:%02d", mac, i), Backend: backend})
		}
		return list
	}
	server, err := debian.New(t.Context(), "server-of-"+c.name, debian.Hardware{Root: serverRoot, Flavour: debian.Generic, NICs: nics("01", "server"),
		Disks: []debian.Disk{{Name: "served", Size: 4 << 30}}})
	if err != nil {
		t.Fatal(err)
	}
	hostKey, hostPublic := sshKey(t)
	userKey, userPublic := sshKey(t)
	serve := debian.Payload{Files: map[string]string{
		"ukdump-test/server":          c.server + ":\n",
		"ukdump-test/host_key":        hostKey,
		"ukdump-test/authorized_keys": userPublic + "\n",
		"ukdump-test/sshd_config": "HostKey /ukdump-test/host_key\nAuthorizedKeysFile /ukdump-test/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n" +
			"PermitRootLogin prohibit-password\nForceCommand internal-sftp\nSubsystem sftp internal-sftp\nPidFile none\n",
	}, Run: ". /ukdump-test/netserver\n"}
	list, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, deb := range list {
		b, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		serve = serve.With("ukdump-test/debs/"+filepath.Base(deb), string(b))
	}
	served, err := server.Boot(t.Context(), debian.Boot{Name: "serve", Init: debian.Quick, Payload: serve, Deadline: 2 * bootLimit, Cmdline: "net.ifnames=0"})
	if err == nil {
		err = served.Expect("ukdump-test: serving", bootLimit)
	}
	if err != nil {
		t.Fatal(err)
	}

	m, err := debian.New(t.Context(), c.name, debian.Hardware{Root: root, Flavour: debian.Generic, NICs: nics("02", "client")})
	if err != nil {
		t.Fatal(err)
	}
	mark := "mark-" + rand.Text()
	host := strings.TrimSuffix(strings.TrimPrefix(c.target, "sftp://root@"), "/srv/crash")
	payload = payload.With("etc/ukdump/ssh/id_ed25519", userKey).With("etc/ukdump/ssh/known_hosts", host+" "+hostPublic+"\n").
		With("etc/ukdump.conf", fmt.Sprintf("TARGET=%q\n%s%s", c.target, c.conf, readable)).
		With("ukdump-test/cell", fmt.Sprintf("mark=%s\nset_up='%s'\n", mark, c.setUp))
	payload.Run = ". /ukdump-test/network\n"
	begin := time.Now()
	vm, err := m.Boot(t.Context(), debian.Boot{Name: "crash", Init: debian.Quick, Payload: payload, Deadline: bootLimit,
		Cmdline: reservation + " panic=5 printk.devkmsg=on net.ifnames=0"})
	if err == nil {
		err = vm.Wait()
	}
	if err != nil {
		served.Kill()
		t.Fatal(err)
	}
	if err := checkCrashed(vm, mark); err != nil {
		served.Kill()
		t.Fatal(err)
	}
	if err := served.Wait(); err != nil {
		t.Fatal(err)
	}
	dir, err := server.Results()
	if err != nil {
		t.Fatalf("%v\n%v", err, served.Fail("the server left no result"))
	}
	if err := checkServed(filepath.Join(dir, "srv/crash"), mark, m.Dir, false); err != nil {
		t.Fatal(vm.Fail("%v", err))
	}
	t.Logf("captured (%.0f s)", time.Since(begin).Seconds())
	for _, m := range []*debian.Machine{m, server} {
		if err := m.Remove(); err != nil {
			t.Error(err)
		}
	}
}
