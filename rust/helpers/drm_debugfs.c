// SPDX-License-Identifier: GPL-2.0 OR MIT

#if defined(CONFIG_DRM) && !defined(CONFIG_DEBUG_FS)

#include <drm/drm_debugfs.h>

__rust_helper void rust_helper_drm_debugfs_add_file(struct drm_device *dev, const char *name,
						    int (*show)(struct seq_file *, void *),
						    void *data)
{
	drm_debugfs_add_file(dev, name, show, data);
}

__rust_helper int rust_helper_drm_debugfs_gpuva_info(struct seq_file *m, struct drm_gpuvm *gpuvm)
{
	return drm_debugfs_gpuva_info(m, gpuvm);
}

#endif /* CONFIG_DRM && !CONFIG_DEBUG_FS */
