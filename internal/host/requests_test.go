package host

import (
	"slices"
	"strings"
	"testing"
)

// Built-in drivers are requested by the name of their module, whatever sysfs shows.
func TestDeviceRequests(t *testing.T) {
	for _, tt := range []struct {
		device   Device
		name     string // "" for no request
		unlisted bool
	}{
		{Device{Driver: "ahci", Module: "ahci", Loadable: true}, "ahci", false},
		{Device{Driver: "usb", Modalias: "usb:v1D6Bp0003d0601dc09dsc00dp03"}, "usbcore", true},
		{Device{Driver: "usb", Module: "usbcore"}, "usbcore", true},
		{Device{Driver: "sd", Modalias: "scsi:t-0x00"}, "sd_mod", true},
		{Device{Driver: "xhci_hcd"}, "xhci_pci", true},
		{Device{Driver: "xhci-hcd"}, "xhci-hcd", true},
		{Device{Modalias: "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"}, "", false},
		{Device{Driver: "pcieport", Modalias: "pci:v00001B36d0000000Csv00000000sd00000000bc06sc04i00"}, "", false},
		{Device{Driver: "thunderbolt", Module: "thunderbolt", Loadable: true, Modalias: "pci:v00008086d00009A1Bsv00000000sd00000000bc0Csc03i40"}, "", false},
	} {
		got := deviceRequests([]Device{tt.device})
		if tt.name == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || !slices.Equal(got[0].Names, []string{tt.name}) || got[0].Unlisted != tt.unlisted || got[0].Optional {
			t.Errorf("%+v: %+v", tt.device, got)
		}
	}
}

// Nothing links the power sequence of an eMMC to its controller.
func TestPowerSequence(t *testing.T) {
	const dev = "sys/devices/platform/soc/mmc"
	h := machine(t, map[string]string{
		dev + "/uevent": "DRIVER=sdhci-x\n", dev + "/driver": "-> ../../../../bus/platform/drivers/sdhci-x",
		dev + "/of_node": "-> ../../../../firmware/devicetree/base/soc/mmc",
		"sys/firmware/devicetree/base/soc/mmc/mmc-pwrseq": "\x00\x00\x00\x2a",
	})
	devices, err := h.devices("/" + dev)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range deviceRequests(devices) {
		got = append(got, r.Names...)
		if r.Optional != strings.HasPrefix(r.Names[0], "pwrseq_") {
			t.Errorf("%+v", r)
		}
	}
	if s := strings.Join(got, " "); s != "pwrseq_emmc pwrseq_simple sdhci-x" {
		t.Errorf("got %s", s)
	}
}

func TestPstoreRequests(t *testing.T) {
	const (
		backend = "sys/module/pstore/parameters/backend"
		module  = "lib/modules/6.1/kernel/drivers/firmware/efi/efi-pstore.ko.xz"
		efi     = "sys/firmware/efi/runtime"
	)
	for _, tt := range []struct {
		files map[string]string
		want  string
	}{
		{more(backend, "efi_pstore\n"), "efi_pstore"},
		{more(backend, "ramoops\n", efi, "", module, ""), "ramoops"},
		{more(backend, "erst\n", efi, "", module, ""), ""},
		{more(backend, "(null)\n", efi, "", module, ""), "efi_pstore"},
		{more(efi, "", module, ""), "efi_pstore"},
		{more(backend, "(null)\n", efi, ""), ""},
		{more(backend, "(null)\n", module, ""), ""},
	} {
		got := ""
		for _, r := range machine(t, with(tt.files, "proc/sys/kernel/osrelease", "6.1\n")).PstoreRequests() {
			got += strings.Join(r.Names, " ")
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.files, got, tt.want)
		}
	}
}
