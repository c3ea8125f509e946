from vllm.v1.worker.gpu.model_states.interface import ModelState


class DefaultModelState(ModelState):
    def prepare_inputs_embeds(self, scheduled_encoder_inputs):
        if scheduled_encoder_inputs:
            self.execute_mm_encoder(scheduled_encoder_inputs)

    def prepare_inputs(self):
        return {}
