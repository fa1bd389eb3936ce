package plan

import (
	"errors"
	"fmt"
	"strings"
)

// LVMVolume describes a logical volume for activation. It does not hold the places of
// plain volumes on the physical ones: PID 1 reads them from the disks, so they are
// right after any change.
type LVMVolume struct {
	SystemID string `json:"system_id,omitempty"` // of the volume group, if only this machine may use it
	// Devices are all devices of device-mapper that it is made of, each after
	// those that it needs. The last one is the volume.
	Devices []LVMDevice `json:"devices"`
}

// LVMDevice is one device of device-mapper. A device without a Type is made of parts
// of physical volumes only. Any other has a table of one line, taken from the running
// kernel.
type LVMDevice struct {
	Name   string `json:"name"`             // without /dev/mapper/
	UUID   string `json:"uuid"`             // of LVM-, those of the volume group and the volume, and a suffix if it is hidden
	Layout string `json:"layout,omitempty"` // lvm.VG.Layout of the volume, for which the table was right
	Type   string `json:"type,omitempty"`   // of the target: thin-pool, raid
	Params string `json:"params,omitempty"` // with DeviceArg and an index of Devices for a device
	Length uint64 `json:"length,omitempty"` // in sectors of 512 bytes; 0 if it is that of the volume
}

// DeviceArg begins a word in LVMDevice.Params that stands for another device. The
// number of that in LVMVolume.Devices follows.
const DeviceArg = "%"

func (v *LVMVolume) validate() error {
	if v == nil || len(v.Devices) == 0 {
		return errors.New("lvm.devices is empty")
	}
	for i, d := range v.Devices {
		if d.Name == "" || !strings.HasPrefix(d.UUID, "LVM-") {
			return fmt.Errorf("lvm.devices[%d] has no name, or not the uuid of a logical volume", i)
		}
	}
	return nil
}
