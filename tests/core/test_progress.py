"""What several trainings tell is told apart by their names."""

from __future__ import annotations

from unittest.mock import Mock

from fovea.core.progress import Labelled


def test_a_name_is_put_before_what_is_passed_on() -> None:
    console = Mock()
    labelled = Labelled(console, "fold 2 of 5", fold="2 of 5")
    labelled.say("linear head")
    labelled.advance("features", 3, 9)
    labelled.epoch({"epoch": 4})
    console.say.assert_called_once_with("fold 2 of 5: linear head")
    console.advance.assert_called_once_with("fold 2 of 5: features", 3, 9, None)
    console.epoch.assert_called_once_with({"fold": "2 of 5", "epoch": 4})
