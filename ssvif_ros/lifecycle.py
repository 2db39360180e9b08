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
UNDONE = ("on_configure", "on_activate")


def logged(transition: Transition) -> Transition:
    """Rclpy swallows what a transition raises without a word; say it, and refuse the transition.

    One that fails on the way up is undone, and the state stays. One that fails on the way down has
    taken half of the node away: that is an error, see `on_error`.
    """

    @functools.wraps(transition)
    def wrapper(node: CarefulLifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            _say(node, transition.__name__, error)
        if transition.__name__ in UNDONE:
            try:
                node.undo(state)
                return TransitionCallbackReturn.FAILURE
            except Exception as error:
                _say(node, f"undoing {transition.__name__}", error)
        return TransitionCallbackReturn.ERROR

    return wrapper


def _say(node: CarefulLifecycleNode, what: str, error: Exception) -> None:
    """In the log, but where a signal took ROS away in the middle."""
    if node.context.ok() and not _comes_of_ctrl_c(error):
        reason = str(error) if isinstance(error, SsvifError) else traceback.format_exc()
        node.get_logger().error(f"{what}: {reason}")


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
        """After a transition up that failed: leave nothing of it behind. `state`: from where."""

    def give_back(self) -> None:
        """Be as before `configure`: stop, and free everything, though a part of that raises."""

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that failed and could not be undone: unconfigured, and really so."""
        try:
            self.give_back()
        except Exception as error:
            _say(self, "on_error", error)
        if self.context.ok():
            self.get_logger().error("everything was given up: unconfigured now, configure it again")
        return TransitionCallbackReturn.SUCCESS

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
