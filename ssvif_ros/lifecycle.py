"""What rclpy's lifecycle node leaves open: transitions that raise, requests that it cannot meet,
and what it remembers of everything that was ever made.

Knows nothing of what the node does in its transitions.
"""

from __future__ import annotations

import functools
import traceback
import weakref
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ssvif_core.errors import SsvifError

__all__ = ["CarefulLifecycleNode", "logged"]

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Rclpy swallows what a transition raises without a word; say it, and refuse the transition."""

    @functools.wraps(transition)
    def wrapper(node: CarefulLifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            interrupted = _comes_of_ctrl_c(error)
            reason = str(error) if isinstance(error, SsvifError) else traceback.format_exc()
        if node.context.ok() and not interrupted:  # else a signal took ROS away in the middle
            node.get_logger().error(f"{transition.__name__}: {reason}")
        node.undo(state)
        return TransitionCallbackReturn.FAILURE

    return wrapper


def _comes_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether a package that was interrupted made another error of it, as while it is imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


class CarefulLifecycleNode(LifecycleNode):
    """Lifecycle node that answers every request for a transition, on every release of ROS.

    Before kilted, rclpy raises RCLError out of the service where a transition is not possible in
    the present state: nobody is answered, and a lifecycle manager or launch_ros waits forever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _forget_what_is_gone(self.default_callback_group)

    def undo(self, state: LifecycleState) -> None:
        """After a transition that failed: leave nothing of it behind. `state`: from where."""

    # rclpy offers no other place between its service and the state machine; a release that has
    # none of this name never calls it.
    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]
        except RuntimeError as error:  # RCLError is one
            self.get_logger().error(
                f"refused: {error}. `ros2 lifecycle list` says what can be asked for now."
            )
            return TransitionCallbackReturn.ERROR


def _forget_what_is_gone(group: CallbackGroup) -> None:
    """Rclpy keeps a weak reference to each entity for ever (rclpy#1356, open).

    Eleven stayed of each activation.
    """

    def add_entity(entity: Any) -> None:
        group.entities.add(weakref.ref(entity, group.entities.discard))

    group.add_entity = add_entity  # type: ignore[method-assign]
