/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vLLM's routing kernels (csrc/moe, csrc/libtorch_stable/moe; 0.12 to 0.33), by their
 * mangled names: these have the types of all arguments, so a kernel whose arguments have
 * changed is not taken for the one that is known.
 */
#include <stddef.h>
#include <string.h>

#include "moe.h"

static const struct routing rules[] = {
	/* input, finished, weights, rows, ids, source_rows, k, start_expert, end_expert, renormalize, … */
	{ "10topkGatingI", "PKbPfiPT4_Piiiib", 2, 4, 3, 6, 8, 0 },
	{ "10topkGatingI", "PKbPfiPT3_Piiiib", 2, 4, 3, 6, 8, 0 },
	{ "17topkGatingSoftmaxI", "PKbPfiPT4_Piiii", 2, 4, 3, 6, 8, 0 },
	{ "17topkGatingSoftmaxI", "PKbPfiPT3_Piiii", 2, 4, 3, 6, 8, 0 },
	{ "22topkGatingSoftplusSqrtI", "PKbPfiPT5_Piiiib", 2, 4, 3, 6, 8, 0 },
	{ "22topkGatingSoftplusSqrtI", "PKbPfiPT4_Piiiib", 2, 4, 3, 6, 8, 0 },
	/* scores, finished, weights, ids, source_rows, experts, k, … */
	{ "7moeTopKI", "PKfPKbPfPT0_Piiiii", 2, 3, ROWS_ARE_BLOCKS, 6, 5, 0 },
	/* scores, weights, ids, bias, rows, experts, groups, top groups, k, renormalize, … */
	{ "25grouped_topk_fused_kernelI", "PT_PfPT1_PKT0_lllllbd", 1, 2, 4, 8, 5, 1 },
	/* scores, weights, ids, bias, rows, groups, top groups, k, experts, … */
	{ "44grouped_topk_fused_small_expert_count_kernelI", "PT_PfPT1_PKT0_llllllbd", 1, 2, 4, 7,
	  8, 1 },
	/* scores, weights, ids, bias, rows, experts, k, renormalize, … */
	{ "29single_group_topk_warp_kernelI", "PKT_PfPT1_PKT0_lllbfb", 1, 2, 4, 6, 5, 1 },
	/* scores, weights, ids, bias, experts, k, renormalize, … */
	{ "30single_group_topk_block_kernelI", "PKT_PfPT1_PKT0_llbfb", 1, 2, ROWS_ARE_BLOCKS, 5, 4,
	  1 },
};

/* What else chooses experts, as far as names tell. */
static const char *const suspects[] = {
	"topkGating",	  "moeTopK",	   "grouped_topk",	"single_group_topk",
	"moe_fused_gate", "moefused_gate", "routingMainKernel", "routingIndices",
	"routingCustom",  "_topk_forward", "gpt_oss_router",	"minimax_m2_topk",
};

/* The template's arguments begin with numbers: of what follows the first letter is the
 * ids' type. In the grouped kernels two types and a scoring function stand around it. */
static int ids_of(const struct routing *r, const char *template)
{
	const char *c = template, *end;

	if (r->wide) {
		end = strstr(c, "LNS0_11ScoringFunc");
		return end && end > c ? end[-1] : 0;
	}
	while (c[0] == 'L' && (c[1] == 'i' || c[1] == 'b') && (end = strchr(c, 'E')))
		c = end + 1;
	return *c;
}

struct routing_kernel routing_of(const char *mangled)
{
	struct routing_kernel k = { 0 };

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		const char *at = strstr(mangled, rules[i].name);
		int type;

		if (!at || !strstr(at, rules[i].arguments))
			continue;
		type = ids_of(&rules[i], at + strlen(rules[i].name));
		if (type != 'i' && type != 'j' && type != 'l')
			break;
		k.rule = &rules[i];
		k.wide_ids = type == 'l';
		return k;
	}
	for (size_t i = 0; i < sizeof(suspects) / sizeof(*suspects); i++)
		k.unknown |= strstr(mangled, suspects[i]) != NULL;
	return k;
}
