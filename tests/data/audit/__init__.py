"""Tests of the checks of the audit; `subjects` builds what they work on."""
