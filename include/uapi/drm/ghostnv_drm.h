/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
#ifndef __GHOSTNV_DRM_H__
#define __GHOSTNV_DRM_H__

/**
 * DOC: overview
 *
 * GhostNV takes the ioctls of nouveau, whose structures and numbers are in
 * nouveau_drm.h. What it has beyond them is here.
 *
 * A device that GhostNV drives normally reports the DRM driver name "nouveau",
 * so the name does not tell whether there are extensions. Asking for
 * %GHOSTNV_GETPARAM_INTERFACE with DRM_IOCTL_NOUVEAU_GETPARAM does: any other
 * driver fails with EINVAL.
 *
 * Numbers of ioctls that are GhostNV's own start at %DRM_GHOSTNV_FIRST, and
 * numbers of parameters at %GHOSTNV_GETPARAM_FIRST, so that they do not collide
 * with what nouveau may get. As everywhere in DRM, structures may grow at their
 * end: what an older caller does not pass is zero, and what an older kernel does
 * not know must be zero or the call fails with EINVAL.
 */

#if defined(__cplusplus)
extern "C" {
#endif

/**
 * define DRM_GHOSTNV_FIRST - the first ioctl number of GhostNV's own
 *
 * Relative to DRM_COMMAND_BASE. No such ioctl exists in version 1 of the
 * interface.
 */
#define DRM_GHOSTNV_FIRST		0x50

/**
 * define GHOSTNV_GETPARAM_FIRST - the first parameter of GhostNV's own
 */
#define GHOSTNV_GETPARAM_FIRST		0x1000

/**
 * define GHOSTNV_GETPARAM_INTERFACE - which extensions there are
 *
 * The value is the version of the interface that this header describes. Each
 * version has all that earlier ones have. Never fails on GhostNV.
 */
#define GHOSTNV_GETPARAM_INTERFACE	0x1000

/**
 * define GHOSTNV_INTERFACE_VERSION - the version that this header describes
 */
#define GHOSTNV_INTERFACE_VERSION	1

/**
 * define GHOSTNV_GETPARAM_VRAM_SIZE - bytes of video memory of the board
 *
 * NOUVEAU_GETPARAM_FB_SIZE is less by what the firmware keeps for itself.
 */
#define GHOSTNV_GETPARAM_VRAM_SIZE	0x1001

#if defined(__cplusplus)
}
#endif

#endif /* __GHOSTNV_DRM_H__ */
