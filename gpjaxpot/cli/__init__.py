"""The command `gpjaxpot`: what it is asked, and what people read in answer."""
