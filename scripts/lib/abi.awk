# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Turns the driver's assert_layout!(…) into C that holds NVIDIA's headers to the same numbers.
#
#   awk -v out=DIR -f abi.awk FILE.rs…
#
# writes one DIR/N.c for each header, since headers of two releases cannot be included together, and
# prints "compared N structures, N fields; not compared: NAME…".
#
#   assert_layout!(
#       Ours "r570/gsp.h:Theirs", 256,
#       field "theirField" @ 16,
#   );

function c_file(header) {
	if (!(header in files)) {
		files[header] = sprintf("%s/%d.c", out, ++count)
		print "#include \"common.h\"\n#include NVRM(" header ")" >files[header]
	}
	return files[header]
}

function finish(   parts, n, i, words, file) {
	sub(/^.*assert_layout!\(/, "", text)
	sub(/\);.*$/, "", text)
	n = split(text, parts, ",")
	split(parts[1], words, "\"")
	name = words[1]
	gsub(/[[:space:]]/, "", name)
	if (words[2] == "") {
		missing = missing " " name
		return
	}
	split(words[2], theirs, ":")
	file = c_file(theirs[1])
	structures++
	gsub(/[[:space:]]/, "", parts[2])
	printf "CHECK(sizeof(%s) == %s, \"%s: size\");\n", theirs[2], parts[2], name >file
	for (i = 3; i <= n; i++) {
		if (split(parts[i], words, "\"") < 3)
			continue
		offset = words[3]
		gsub(/[@[:space:]]/, "", offset)
		if (offset !~ /^[0-9]+$/)
			continue
		fields++
		gsub(/[[:space:]]/, "", words[1])
		printf "CHECK(__builtin_offsetof(%s, %s) == %s, \"%s.%s\");\n", \
			theirs[2], words[2], offset, name, words[1] >file
	}
}

/assert_layout!\(/ && !/macro_rules/ { inside = 1; text = "" }
inside { text = text " " $0 }
inside && /\);/ { inside = 0; finish() }
END { printf "compared %d structures, %d fields; not compared:%s\n", structures, fields, missing }
