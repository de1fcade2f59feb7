"""The instructor's and the author's tools: notebooks from solutions, all chapters run, reports, resets, the doctor."""
