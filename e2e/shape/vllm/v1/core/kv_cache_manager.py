from vllm.v1.core.block_pool import BlockPool


class SingleTypeKVCacheManager:
    def __init__(self, block_pool, block_size):
        self.block_pool = block_pool
        self.block_size = block_size
        self.req_to_blocks = {}

    def allocate_new_blocks(self, request_id, num_tokens):
        have = self.req_to_blocks.setdefault(request_id, [])
        need = -(-num_tokens // self.block_size) - len(have)
        if need <= 0:
            return []
        new = self.block_pool.get_new_blocks(need)
        have.extend(new)
        return new

    def allocate_new_computed_blocks(self, request_id, blocks):
        self.block_pool.touch(blocks)
        self.req_to_blocks[request_id] = list(blocks)

    def free(self, request_id):
        self.block_pool.free_blocks(reversed(self.req_to_blocks.pop(request_id, [])))


class KVCacheCoordinator:
    def __init__(self, manager):
        self.single_type_managers = (manager,)

    def allocate_new_blocks(self, request_id, num_tokens):
        return tuple(m.allocate_new_blocks(request_id, num_tokens) for m in self.single_type_managers)

    def allocate_new_computed_blocks(self, request_id, blocks):
        for m in self.single_type_managers:
            m.allocate_new_computed_blocks(request_id, blocks)

    def free(self, request_id):
        for m in self.single_type_managers:
            m.free(request_id)


class KVCacheManager:
    def __init__(self, num_blocks, block_size, truth):
        self.block_size = block_size
        self.block_pool = BlockPool(num_blocks, True, truth)
        self.coordinator = KVCacheCoordinator(SingleTypeKVCacheManager(self.block_pool, block_size))

    def get_computed_blocks(self, request):
        found = []
        for key in request.block_hashes[: (request.num_tokens - 1) // self.block_size]:
            block = self.block_pool.cached_block_hash_to_block.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def allocate_slots(self, request, num_new_tokens, new_computed_blocks=()):
        manager = self.coordinator.single_type_managers[0]
        tokens = request.num_computed_tokens + num_new_tokens + len(new_computed_blocks) * self.block_size
        have = manager.req_to_blocks.get(request.request_id, [])
        fresh = -(-tokens // self.block_size) - len(have) - len(new_computed_blocks)
        idle = sum(b.ref_cnt == 0 for b in new_computed_blocks)
        if fresh + idle > self.block_pool.free_block_queue.num_free_blocks:
            return None
        if new_computed_blocks:
            self.coordinator.allocate_new_computed_blocks(request.request_id, new_computed_blocks)
        new = self.coordinator.allocate_new_blocks(request.request_id, tokens)
        self.cache_blocks(request, tokens)
        return new

    def cache_blocks(self, request, tokens):
        blocks = self.coordinator.single_type_managers[0].req_to_blocks[request.request_id]
        full = min(tokens, request.num_prompt_tokens) // self.block_size
        for block, key in zip(blocks[:full], request.block_hashes):
            if block._block_hash is None and key not in self.block_pool.cached_block_hash_to_block:
                block._block_hash = key
                self.block_pool.cached_block_hash_to_block[key] = block

    def free(self, request):
        self.coordinator.free(request.request_id)

    def get_block_ids(self, request_id):
        return tuple([b.block_id for b in m.req_to_blocks[request_id]] for m in self.coordinator.single_type_managers)
