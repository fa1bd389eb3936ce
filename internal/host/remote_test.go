package host

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// Disks that somebody has to log in to, or that software of the running system makes, are
// refused by name; local controllers and host bus adapters are not.
func TestRemoteDisks(t *testing.T) {
	t.Parallel()
	const nic = "sys/devices/pci0000:00/0000:00:03.0/0000:04:00.3"
	const hba = "sys/devices/pci0000:00/0000:00:07.0"
	const lun = "/target3:0:1/3:0:1:0/block/sde"
	const rport = "/rport-3:0-4" + lun
	emergency, none := "MODE=emergency", "TARGET="
	for _, tt := range []struct {
		name   string
		dir    string // of the SCSI host
		below  string // path of the disk there
		proc   string // proc_name of the host
		bus    string // subsystem of the device above the host
		want   string // "" if it is not refused
		advice string
	}{
		{"FCoE on a VLAN", "sys/devices/virtual/net/eth4.802-fcoe/host3", rport, "fcoe", "", "FCoE disk sde is not", emergency},
		{"FCoE on a NIC", nic + "/net/eth3/ctlr_0/host3", rport, "fcoe", "", "FCoE disk sde is not", emergency},
		{"FCoE with the NIC's help", nic + "/net/eth3/ctlr_0/host3", rport, "<NULL>", "", "FCoE disk sde (eth3) is not", emergency},
		{"FCoE of an older kernel", nic + "/net/eth3/host3", rport, "", "", "FCoE disk sde (eth3) is not", emergency},
		{"iSCSI", "sys/devices/platform/host3", "/session1" + lun, "iscsi_tcp", "", "iSCSI disk sde", emergency},
		{"iSCSI by an adapter", hba + "/host3", "/session12" + lun, "qla4xxx", "pci", "iSCSI disk sde", emergency},
		{"iSER", hba + "/host3", "/session1" + lun, "iscsi_iser", "pci", "iSCSI disk sde", emergency},
		{"SRP", hba + "/host3", "/port-3:1" + lun, "ib_srp", "pci", "SRP disk sde", emergency},
		{"USB/IP", "sys/devices/platform/vhci_hcd.0/usb3/3-1/3-1:1.0/host3", lun, "usb-storage", "usb", "USB/IP disk sde", emergency},
		{"USB/IP with UAS", "sys/devices/platform/vhci_hcd.1/usb5/5-1/5-1:1.0/host3", lun, "uas", "usb", "USB/IP disk sde", emergency},
		{"USB gadget", "sys/devices/platform/dummy_hcd.0/usb3/3-1/3-1:1.0/host3", lun, "usb-storage", "usb", "disk of a USB gadget sde", emergency},
		{"LIO target", "sys/devices/tcm_loop_0/tcm_loop_adapter_0/host3", lun, "tcm_loopback", "tcm_loop_bus", "disk of the LIO target sde", emergency},
		{"LIO target of another name", "sys/devices/target0/adapter_0/host3", lun, "tcm_loopback", "", "disk of the LIO target sde", emergency},
		{"scsi_debug", "sys/devices/pseudo_0/adapter0/host3", lun, "scsi_debug", "pseudo", "simulated disk of scsi_debug sde", none},
		{"unknown software", "sys/devices/platform/host3", lun, "vstor", "", "SCSI disk sde (vstor) is not supported: its SCSI host host3 is no controller", emergency},
		{"unknown bus of software", "sys/devices/vstor/adapter0/host3", lun, "", "vstor", "SCSI disk sde is not supported: its SCSI host", emergency},
		{"VDUSE", "sys/devices/virtual/vduse/disk0/vdpa0/virtio3/host3", lun, "virtio_scsi", "virtio", "VDUSE disk sde", emergency},

		{"SATA", hba + "/ata1/host3", lun, "ahci", "pci", "", ""},
		{"Fibre Channel, lpfc", hba + "/host3", rport, "lpfc", "pci", "", ""},
		{"Fibre Channel, qla2xxx", hba + "/host3", rport, "qla2xxx", "pci", "", ""},
		{"Fibre Channel, NPIV", hba + "/host3/vport-3:0-1/host4", "/rport-4:0-1/target4:0:1/4:0:1:0/block/sde", "lpfc", "pci", "", ""},
		{"hardware FCoE, fnic", hba + "/host3", rport, "fnic", "pci", "", ""},
		{"hardware FCoE, qedf", hba + "/host3", rport, "qedf", "pci", "", ""},
		{"SAS", hba + "/host3", "/port-3:0/end_device-3:0" + lun, "mpt3sas", "pci", "", ""},
		{"virtio-scsi", hba + "/virtio0/host3", lun, "virtio_scsi", "virtio", "", ""},
		{"Hyper-V", "sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/f8b3781a/host3", lun, "storvsc_host_t", "vmbus", "", ""},
		{"Xen", "sys/devices/vscsi-51712/host3", lun, "xenscsifront", "xen", "", ""},
		{"POWER", "sys/devices/vio/30000002/host3", lun, "ibmvfc", "vio", "", ""},
		{"mainframe", "sys/devices/css0/0.0.0007/0.0.1900/host3", rport, "zfcp", "ccw", "", ""},
		{"board", "sys/devices/platform/soc@0/1d84000.ufshc/host3", lun, "ufshcd", "platform", "", ""},
		{"USB", hba + "/usb2/2-1/2-1:1.0/host3", lun, "usb-storage", "usb", "", ""},
		{"FireWire", hba + "/fw1/fw1.0/host3", lun, "sbp2", "firewire", "", ""},
		{"driver without a name", hba + "/host3", lun, "<NULL>", "pci", "", ""},
	} {
		files := disk("ext4", "rw", tt.dir+tt.below, map[string]string{
			"sys/class/block/sde": "-> ../../../" + tt.dir + tt.below,
		})
		if tt.proc != "" {
			files[tt.dir+"/scsi_host/"+filepath.Base(tt.dir)+"/proc_name"] = tt.proc + "\n"
		}
		if tt.bus != "" {
			up := strings.Repeat("../", strings.Count(filepath.Dir(tt.dir), "/"))
			files[filepath.Dir(tt.dir)+"/subsystem"] = "-> " + up + "bus/" + tt.bus
		}
		s, err := machine(t, files).Storage("/var/crash")
		var u *UnsupportedError
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.As(err, &u) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(u.Advice(), tt.advice)):
			t.Errorf("%s: %+v, %v", tt.name, s, err)
		case tt.advice == none && strings.Contains(u.Advice(), emergency):
			t.Errorf("%s: %s", tt.name, u.Advice())
		}
	}
}

// So are block devices that are not on SCSI.
func TestRemoteBlockDevices(t *testing.T) {
	t.Parallel()
	const virtual = "sys/devices/virtual/block/"
	for _, tt := range []struct{ path, want string }{
		{virtual + "etherd!e1.0", "ATA over Ethernet disk etherd!e1.0"},
		{virtual + "ublkb0", "ublk device ublkb0"},
		{virtual + "rnbd0", "RNBD device rnbd0"},
		{virtual + "nullb0", "null_blk device nullb0"},
		{virtual + "nbd0", "network block device nbd0"},
		{virtual + "drbd1", "DRBD device drbd1"},
		{virtual + "scinia", "virtual block device scinia"},
		{"sys/devices/rbd/0/block/rbd0", "Ceph block device rbd0"},
		{"sys/devices/virtual/vduse/d/vdpa0/virtio3/block/vda", "VDUSE disk vda"},
		{"sys/devices/vdpasim_blk/vdpa0/virtio3/block/vda", "simulated vDPA disk vda"},
		{"sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1", "NVMe over Fabrics disk nvme0n1"},
	} {
		_, err := machine(t, disk("ext4", "rw", tt.path, nil)).Storage("/var/crash")
		if err == nil || !strings.Contains(err.Error(), tt.want+" is not supported") {
			t.Errorf("%s: %v", tt.path, err)
		}
	}
	for transport, refused := range map[string]bool{"pcie": false, "apple-nvme": false, "tcp": true, "rdma": true, "fc": true, "loop": true, "quic": true} {
		const nvme = "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0"
		_, err := machine(t, disk("ext4", "rw", nvme+"/nvme0n1", map[string]string{nvme + "/transport": transport + "\n"})).Storage("/var/crash")
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "NVMe over Fabrics disk nvme0n1 ("+transport+")") {
			t.Errorf("NVMe over %s: %v", transport, err)
		}
	}
}
