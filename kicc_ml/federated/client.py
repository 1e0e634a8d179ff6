"""A hospital in NVFlare: its executor hands each task to :class:`kicc_ml.federated.hospital.Hospital`."""

import json
from functools import cached_property
from pathlib import Path

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from kicc_ml.core.received import read_json_object
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.messages import Message

#: Name of the file in a kit's folder ``local`` that says where the hospital's data lie. It never leaves the hospital.
HOSPITAL = "hospital.json"

#: The entry of a message that holds its figures, as JSON.
FIGURES = "figures"


class HospitalExecutor(Executor):
    """The one component that a job may name at a hospital. It takes no settings from the job."""

    @cached_property
    def _hospitals(self) -> dict[Path, Hospital]:
        return {}

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer a task of the server.

        Args:
            task_name: of the task.
            shareable: its message.
            fl_ctx: the context of NVFlare, which knows the kit.
            abort_signal: set if the job was ended meanwhile.

        Returns:
            the answer.
        """
        settings = Path(fl_ctx.get_engine().get_workspace().get_site_config_dir()) / HOSPITAL
        if settings not in self._hospitals:
            places = read_json_object(settings, "start this hospital with: kicc-ml federated join")
            self._hospitals[settings] = Hospital(Path(places["repository"]), Path(places["store"]))
        answer = self._hospitals[settings].answer(task_name, unpack(FLModelUtils.from_shareable(shareable)))
        if abort_signal.triggered:
            return make_reply(ReturnCode.TASK_ABORTED)
        return FLModelUtils.to_shareable(pack(answer))


def pack(message: Message) -> FLModel:
    """Pack a message into NVFlare's model: weights where its filters expect them, figures as JSON beside them.

    Args:
        message: the message.
    """
    return FLModel(params=dict(message.arrays), meta={FIGURES: json.dumps(message.figures, allow_nan=False)})


def unpack(model: FLModel) -> Message:
    """Unpack a message from NVFlare's model.

    Args:
        model: what came.
    """
    return Message(json.loads(model.meta[FIGURES]), model.params or {})
