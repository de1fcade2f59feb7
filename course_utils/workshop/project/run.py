"""All of it: check the data, train, evaluate, write the card. What was stopped goes on from where it was."""

import check_data
import evaluate
import train

if __name__ == "__main__":
    check_data.main()
    train.main()
    evaluate.main()
