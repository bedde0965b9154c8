package jsapi

import "weir/internal/apierr"

// streamSnapshot answers $JS.API.STREAM.SNAPSHOT.<stream>: not supported yet.
func (c *call) streamSnapshot() {
	c.fail(apierr.JSStreamSnapshotErrF("backups are not supported yet"))
}

// streamRestore answers $JS.API.STREAM.RESTORE.<stream>: not supported yet.
func (c *call) streamRestore() {
	c.fail(apierr.JSStreamRestoreErrF("backups are not supported yet"))
}
