/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of a local socket. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "control.h"

#define RECORD_MAX (1u << 20) /* of the group database: one with tens of thousands of members */
#define GROUPS_MAX 65536      /* NGROUPS_MAX */

/* The group's id. False when there is none of that name. */
static bool group_id(const char *name, gid_t *gid)
{
	struct group record, *found = NULL;
	size_t size = 4096;
	char *buffer = NULL;
	int error = ERANGE;

	for (; error == ERANGE && size <= RECORD_MAX; size *= 4) {
		char *larger = realloc(buffer, size);
		if (!larger)
			break;
		buffer = larger;
		error = getgrnam_r(name, &record, buffer, size, &found);
	}
	if (!error && found)
		*gid = found->gr_gid;
	free(buffer);
	return !error && found;
}

/* In the groups that the process had when it connected: the kernel's word. */
static bool process_has_group(int fd, gid_t gid)
{
	socklen_t size = 64 * sizeof(gid_t);
	gid_t *groups = malloc(size);
	bool member = false;

	if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
		/* Any other failure (ENODATA: nobody at the other end) leaves the list as malloc gave it. */
		if (errno != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
			size = 0;
		free(groups);
		groups = size ? malloc(size) : NULL;
		if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
			size = 0;
	}
	for (size_t i = 0; groups && i < size / sizeof(gid_t); i++)
		member |= groups[i] == gid;
	free(groups);
	return member;
}

/* In the user database: for a user who was added to the group after logging in. */
static bool user_has_group(uid_t uid, gid_t primary, gid_t gid)
{
	struct passwd record, *found = NULL;
	char buffer[16384];
	int count = 64;
	bool member = false;

	if (getpwuid_r(uid, &record, buffer, sizeof(buffer), &found) || !found)
		return false;
	gid_t *groups = malloc((size_t)count * sizeof(gid_t));
	if (groups && getgrouplist(found->pw_name, primary, groups, &count) < 0 && count > 0 && count <= GROUPS_MAX) {
		gid_t *larger = realloc(groups, (size_t)count * sizeof(gid_t));
		if (!larger) {
			free(groups);
			return false;
		}
		groups = larger;
		if (getgrouplist(found->pw_name, primary, groups, &count) < 0)
			count = 0;
	}
	for (int i = 0; groups && i < count && i < GROUPS_MAX; i++)
		member |= groups[i] == gid;
	free(groups);
	return member;
}

int marcher_peer_credentials(int fd, const char *group, int32_t *pid, uint32_t *uid, uint32_t *gid, int32_t *member)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	gid_t wanted = 0;

	if (!pid || !uid || !gid || !member)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_peer_credentials: an argument is NULL");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return control_fail(NULL, MARCHER_E_SYSTEM, "the peer's credentials of descriptor %d: %s", fd,
		                    strerror(errno));
	*pid = peer.pid;
	*uid = peer.uid;
	*gid = peer.gid;
	*member = 0;
	if (group && *group && group_id(group, &wanted))
		*member = peer.gid == wanted || process_has_group(fd, wanted) ||
		          user_has_group(peer.uid, peer.gid, wanted);
	return MARCHER_OK;
}
