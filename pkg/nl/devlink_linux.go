package nl

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// devlink sends a command about one devlink device and decodes the answer.
func devlink[T any](ctx context.Context, h *Handle, cmd uint8, bus, dev string,
	decode func(*decoder) (T, error), attributes ...*nl.RtAttr,
) (T, error) {
	family := genlFamily{nl.GENL_DEVLINK_NAME, nl.GENL_DEVLINK_VERSION}
	device := []*nl.RtAttr{text(nl.DEVLINK_ATTR_BUS_NAME, bus), text(nl.DEVLINK_ATTR_DEV_NAME, dev)}
	out, err := command(ctx, h, family, cmd, decode, append(device, attributes...)...)
	return out, noDevice(err)
}

// noDevice adds ErrUnsupported to ENODEV, which is devlink's answer for a
// device that has no devlink.
func noDevice(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: no devlink device: %w", ErrUnsupported, err)
	}
	return err
}

// EswitchMode returns "legacy" or "switchdev" (or the number of a mode that is
// newer than this code). A device without an eswitch is [ErrUnsupported].
func (h *Handle) EswitchMode(ctx context.Context, bus, dev string) (string, error) {
	mode, err := devlink(ctx, h, nl.DEVLINK_CMD_ESWITCH_GET, bus, dev, decodeEswitch)
	if err == nil && mode == "" {
		err = unix.EOPNOTSUPP
	}
	return mode, wrap(err, "read eswitch mode", bus+"/"+dev, "")
}

// decodeEswitch finds the mode among the attributes, "" when it is not there.
func decodeEswitch(d *decoder) (mode string, err error) {
	for d.next() {
		if d.typ != nl.DEVLINK_ATTR_ESWITCH_MODE {
			continue
		}
		switch m := d.u16(); m {
		case nl.DEVLINK_ESWITCH_MODE_LEGACY:
			mode = "legacy"
		case nl.DEVLINK_ESWITCH_MODE_SWITCHDEV:
			mode = "switchdev"
		default:
			mode = fmt.Sprintf("mode %d", m)
		}
	}
	return mode, d.err
}

// SetEswitchMode sets "legacy" or "switchdev". mlx5 takes seconds over it.
func (h *Handle) SetEswitchMode(ctx context.Context, bus, dev, mode string) error {
	const op = "set eswitch mode"
	target := bus + "/" + dev
	var n uint16
	switch mode {
	case "legacy":
		n = nl.DEVLINK_ESWITCH_MODE_LEGACY
	case "switchdev":
		n = nl.DEVLINK_ESWITCH_MODE_SWITCHDEV
	default:
		return &Error{Op: op, Target: target, Value: mode, Err: fmt.Errorf("no such mode: %w", unix.EINVAL)}
	}
	_, err := devlink(ctx, h, nl.DEVLINK_CMD_ESWITCH_SET, bus, dev, done,
		nl.NewRtAttr(nl.DEVLINK_ATTR_ESWITCH_MODE, nl.Uint16Attr(n)))
	return wrap(err, op, target, mode)
}

// Param is a devlink parameter at run time. Value is a bool, string, uint8,
// uint16 or uint32.
type Param struct {
	Type  uint8 // nla type as the kernel sends it, needed to set
	Value any
}

// DevlinkParam reads the run-time value of a parameter ("flow_steering_mode",
// "enable_rdma").
func (h *Handle) DevlinkParam(ctx context.Context, bus, dev, name string) (Param, error) {
	p, err := devlink(ctx, h, nl.DEVLINK_CMD_PARAM_GET, bus, dev, decodeParam, text(nl.DEVLINK_ATTR_PARAM_NAME, name))
	// EINVAL is the answer for a parameter that the device does not have.
	if errors.Is(err, unix.EINVAL) || err == nil && p.Type == 0 {
		err = fmt.Errorf("%w: the device has no such parameter: %w", ErrUnsupported, unix.EINVAL)
	}
	return p, wrap(err, "read devlink parameter "+name, bus+"/"+dev, "")
}

// SetDevlinkParam sets the run-time value of a parameter. value has the type
// that DevlinkParam returns for it.
func (h *Handle) SetDevlinkParam(ctx context.Context, bus, dev, name string, value any) error {
	op, target := "set devlink parameter "+name, bus+"/"+dev
	cur, err := h.DevlinkParam(ctx, bus, dev, name)
	if err != nil {
		return err
	}
	data, err := encodeParam(cur.Type, value)
	if err != nil {
		return wrap(err, op, target, fmt.Sprint(value))
	}
	param := []*nl.RtAttr{
		text(nl.DEVLINK_ATTR_PARAM_NAME, name),
		nl.NewRtAttr(nl.DEVLINK_ATTR_PARAM_TYPE, nl.Uint8Attr(cur.Type)),
		nl.NewRtAttr(nl.DEVLINK_ATTR_PARAM_VALUE_CMODE, nl.Uint8Attr(nl.DEVLINK_PARAM_CMODE_RUNTIME)),
	}
	if data != nil {
		param = append(param, nl.NewRtAttr(nl.DEVLINK_ATTR_PARAM_VALUE_DATA, data))
	}
	_, err = devlink(ctx, h, nl.DEVLINK_CMD_PARAM_SET, bus, dev, done, param...)
	return wrap(err, op, target, fmt.Sprint(value))
}

// encodeParam is the attribute of a value; nil (no attribute) is false.
func encodeParam(typ uint8, value any) ([]byte, error) {
	var data []byte
	is := uint8(0)
	switch v := value.(type) {
	case uint8:
		is, data = nl.DEVLINK_PARAM_TYPE_U8, nl.Uint8Attr(v)
	case uint16:
		is, data = nl.DEVLINK_PARAM_TYPE_U16, nl.Uint16Attr(v)
	case uint32:
		is, data = nl.DEVLINK_PARAM_TYPE_U32, nl.Uint32Attr(v)
	case string:
		is, data = nl.DEVLINK_PARAM_TYPE_STRING, nl.ZeroTerminated(v)
	case bool:
		if is = nl.DEVLINK_PARAM_TYPE_BOOL; v {
			data = []byte{}
		}
	}
	if is == 0 || is != typ {
		return nil, fmt.Errorf("a %T is not what a parameter of type %d takes: %w", value, typ, unix.EINVAL)
	}
	return data, nil
}

// decodeParam finds the run-time value: PARAM{TYPE, VALUES_LIST{VALUE{CMODE,
// DATA}...}}. A flag without DATA is false.
func decodeParam(d *decoder) (Param, error) {
	var p Param
	for d.next() {
		if d.typ == nl.DEVLINK_ATTR_PARAM {
			d.nested(p.attribute)
		}
	}
	return p, d.err
}

// attribute takes over one of the parameter's attributes. The kernel puts the type
// before the values (net/devlink/param.c).
func (p *Param) attribute(d *decoder) {
	switch d.typ {
	case nl.DEVLINK_ATTR_PARAM_TYPE:
		p.Type = d.u8()
	case nl.DEVLINK_ATTR_PARAM_VALUES_LIST:
		d.nested(p.value)
	}
}

// value takes over one of the parameter's values when it is that of run time.
func (p *Param) value(d *decoder) {
	cmode, has := uint8(0xff), false
	data := decoder{typ: nl.DEVLINK_ATTR_PARAM_VALUE_DATA}
	d.nested(func(in *decoder) {
		switch in.typ {
		case nl.DEVLINK_ATTR_PARAM_VALUE_CMODE:
			cmode = in.u8()
		case nl.DEVLINK_ATTR_PARAM_VALUE_DATA:
			data.data, has = in.data, true
		}
	})
	if d.err != nil || cmode != nl.DEVLINK_PARAM_CMODE_RUNTIME {
		return
	}
	var v any
	switch p.Type {
	case nl.DEVLINK_PARAM_TYPE_U8:
		v = data.u8()
	case nl.DEVLINK_PARAM_TYPE_U16:
		v = data.u16()
	case nl.DEVLINK_PARAM_TYPE_U32:
		v = data.u32()
	case nl.DEVLINK_PARAM_TYPE_STRING:
		if !has {
			data.fail("is missing")
		}
		v = data.str()
	case nl.DEVLINK_PARAM_TYPE_BOOL:
		v = has
	}
	if d.err = data.err; d.err == nil {
		p.Value = v
	}
}

// DevlinkInfo returns the device's versions by name; the DDP profile of Intel
// adapters is "fw.app.name". Where a name has a stored and a running version,
// the running one counts.
func (h *Handle) DevlinkInfo(ctx context.Context, bus, dev string) (map[string]string, error) {
	info, err := devlink(ctx, h, nl.DEVLINK_CMD_INFO_GET, bus, dev, decodeInfo)
	return info, wrap(err, "read devlink info", bus+"/"+dev, "")
}

func decodeInfo(d *decoder) (map[string]string, error) {
	info := make(map[string]string)
	running := make(map[string]bool)
	for d.next() {
		switch d.typ {
		case nl.DEVLINK_ATTR_INFO_DRIVER_NAME:
			info["driver"] = d.str()
		case nl.DEVLINK_ATTR_INFO_VERSION_FIXED, nl.DEVLINK_ATTR_INFO_VERSION_RUNNING, nl.DEVLINK_ATTR_INFO_VERSION_STORED:
			var name, value string
			d.nested(func(in *decoder) {
				switch in.typ {
				case nl.DEVLINK_ATTR_INFO_VERSION_NAME:
					name = in.str()
				case nl.DEVLINK_ATTR_INFO_VERSION_VALUE:
					value = in.str()
				}
			})
			if running[name] {
				continue
			}
			info[name] = value
			running[name] = d.typ == nl.DEVLINK_ATTR_INFO_VERSION_RUNNING
		}
	}
	return info, d.err
}
